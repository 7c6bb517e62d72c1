"""Pictures of what the model sees: arrays in, figures and animations out."""
