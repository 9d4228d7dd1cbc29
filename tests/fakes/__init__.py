"""What tests and benchmarks make do with: sound with known truth, tiny encoders."""
