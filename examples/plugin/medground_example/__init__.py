"""What the example adds to MedGround; each module registers itself when its entry point is loaded."""
