"""What scripts/leak_test is made of: two processes under load, everything they can leak counted, and a judge."""
