package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"
)

// ages is how ages are written, for hints and help.
const ages = "as 2w, 30d, 12h or 90m"

// olderThanFlag is --older-than of a command that removes what is old; what says
// of which things, and what happened to them that long ago.
func olderThanFlag(what string) cli.Flag {
	return &cli.StringFlag{Name: "older-than", Usage: what + " this `TIME` ago or earlier, " + ages}
}

// olderThan reads --older-than: 0 if it was not given.
func olderThan(c *cli.Context) (time.Duration, error) {
	text := c.String("older-than")
	if text == "" {
		return 0, nil
	}
	age, err := ageOf(text)
	if err != nil {
		return 0, usageError(fmt.Sprintf("--older-than %q is not a time", text), ages)
	}
	return age, nil
}

// ageOf reads a time as Go writes it, or a number of days or weeks.
func ageOf(text string) (time.Duration, error) {
	unit := map[byte]time.Duration{'d': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[text[len(text)-1]]
	if unit == 0 {
		age, err := time.ParseDuration(text)
		if err == nil && age < 0 {
			err = errors.New("it is negative")
		}
		return age, err
	}
	const most = 100_000 // days or weeks; more would not fit
	n, err := strconv.ParseUint(text[:len(text)-1], 10, 64)
	if err == nil && n > most/uint64(unit/(24*time.Hour)) {
		err = errors.New("it is too long")
	}
	return time.Duration(n) * unit, err //nolint:gosec // at most 100,000 days
}
