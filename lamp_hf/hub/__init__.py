"""The Hugging Face Hub: registration of classes, model cards, uploads."""
