"""Who an agent is: enrolment, its keys, its access tokens.

`codes`, `keys` and `assertions` are pure. `registry` keeps what is known of each agent's keys, `credentials` the codes
and tokens that let one in. `enrolment` redeems those, `granting` gives access tokens, `administration` is what services
decide; `endpoints` puts it on HTTP, and `parts` wires it.
"""
