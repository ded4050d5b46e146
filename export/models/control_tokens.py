"""The ids of the tokens that stand for no text, in every vocabulary that is trained here."""

PAD_ID, UNKNOWN_ID, BEGIN_ID, END_ID = 0, 1, 2, 3
