"""What a model needs on the Hugging Face Hub: registration, cards, uploads."""
