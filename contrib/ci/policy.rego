# A policy on plans, for conftest:
#   reconciler plan desired --snapshot one.json --format json > plan.json
#   conftest test --policy contrib/ci plan.json
package main

import rego.v1

# Nobody gets sudo by a pull request alone.
deny contains message if {
	some transition in input.transitions
	startswith(transition.address, "file:/etc/sudoers")
	message := sprintf("%s: sudoers files are changed by the security team (%s:%d)", [transition.address, transition.source.file, transition.source.line])
}

# A way to become somebody else has to be looked at by a person.
deny contains message if {
	some way in input.access.escalation
	message := sprintf("opens a way up: %s", [way])
}

# Undo has to stay possible.
deny contains message if {
	some transition in input.transitions
	transition.reversible == "none"
	message := sprintf("%s cannot be undone", [transition.address])
}

# Many removals are seldom meant.
warn contains message if {
	input.summary.remove > 5
	message := sprintf("%d removals", [input.summary.remove])
}
