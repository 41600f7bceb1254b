"""The latent diffusion model: loading one, and the embedded one of this study."""
