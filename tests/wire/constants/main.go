// Prints what the generated package says of every state and kind, for comparison.
package main

import (
	"fmt"

	"constants/awp"
)

func bit(x bool) int {
	if x {
		return 1
	}
	return 0
}

func role(
	name string,
	receives func(awp.State, awp.Kind) (awp.Action, awp.State),
	atEOF func(awp.State) (awp.Action, awp.State),
	maySend func(awp.State, awp.Kind) bool,
	sent func(awp.State, awp.Kind) awp.State,
) {
	for state := awp.StateHandshake; state <= awp.StateClosed; state++ {
		action, next := atEOF(state)
		fmt.Printf("%s %d eof %d %d\n", name, state, action, next)
		for code := 0; code < 256; code++ {
			kind := awp.Kind(code)
			action, next := receives(state, kind)
			fmt.Printf("%s %d %d %d %d", name, state, code, action, next)
			if _, known := kind.Info(); known {
				fmt.Printf(" %d %d", bit(maySend(state, kind)), sent(state, kind))
			}
			fmt.Println()
		}
	}
}

func main() {
	role("worker", awp.WorkerReceives, awp.WorkerAtEOF, awp.WorkerMaySend, awp.WorkerSent)
	role("primary", awp.PrimaryReceives, awp.PrimaryAtEOF, awp.PrimaryMaySend, awp.PrimarySent)
	for code := 0; code < 256; code++ {
		kind := awp.Kind(code)
		info, known := kind.Info()
		if !known {
			continue
		}
		needs := info.Capability
		if needs == "" {
			needs = "-"
		}
		fmt.Printf("%d %v %s %d %d%d%d%d%d\n", code, kind, needs, info.Level,
			bit(info.WorkerSends), bit(info.PrimarySends), bit(info.Urgent), bit(info.Charged),
			bit(info.Handles))
	}
}
