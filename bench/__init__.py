"""The benchmarks of the repository; README.md says how to run and read them."""
