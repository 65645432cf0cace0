"""What a model does with one scan: synthesis, denoising, detection, lesions, super-resolution."""
