"""What an export changes in a network before it is traced; PyTorch computes the changed network too."""
