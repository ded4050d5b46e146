"""Other ways to run the same model, each as its own documents say: what `others` compares with."""
