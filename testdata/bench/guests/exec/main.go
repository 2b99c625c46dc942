// Command exec is the guest of the benchmark that has commands run: as many times
// /usr/bin/true as its argument says.
package main

import (
	"fmt"
	"os"
	"strconv"

	agent "github.com/agenthost/agenthost/guest-sdk/go"
)

func main() {
	if err := run(os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(times string) error {
	n, err := strconv.Atoi(times)
	if err != nil {
		return err
	}
	for range n {
		if err := agent.Command("true").Run(); err != nil {
			return err
		}
	}
	_, err = fmt.Printf(`{"answer":%d}`, n)
	return err
}
