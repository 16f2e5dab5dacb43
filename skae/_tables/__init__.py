"""Reading X: tables and their columns, scaling, weights, samples; NumPy alone."""
