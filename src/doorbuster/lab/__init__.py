"""The instruments: load, proof, measurement, demonstration."""
