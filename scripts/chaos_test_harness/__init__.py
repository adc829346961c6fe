"""The parts of scripts/chaos_test: misbehaviours, a control plane and a tusd behind the proxy, traffic, a verdict."""
