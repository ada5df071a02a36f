"""Pictures of genotypes."""
