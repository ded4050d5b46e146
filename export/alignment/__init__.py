"""How well a decoder's attention aligns words, and which layer and heads do it best. Neither training nor serving
needs it."""
