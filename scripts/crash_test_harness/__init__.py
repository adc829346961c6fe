"""The parts of scripts/crash_test: an oracle that is never killed, a slow way to tusd, traffic, and a judge."""
