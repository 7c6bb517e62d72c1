"""What is done to a volume before the encoders read it: geometry and intensity."""
