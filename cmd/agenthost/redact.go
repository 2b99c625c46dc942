package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/redact"
)

// redacted gathers the values that are kept out of the record: of --redact, then of
// --redact-env, then of the policy. One that cannot be had cannot be kept out, and so
// nothing runs. No message holds one.
func (p *program) redacted(c *cli.Context, pol *policy.Policy) (*redact.Values, error) {
	var values []string
	file := func(flag, name string) error {
		lines, err := p.redactFile(flag, name)
		values = append(values, lines...)
		return err
	}
	variable := func(flag, name string) error {
		value := os.Getenv(name)
		if value == "" {
			return usageError(fmt.Sprintf("%s: the environment variable %s is not set", flag, name), "its value cannot be kept out of the record when it is not known; leave it out if there is none")
		}
		values = append(values, value)
		return nil
	}
	if c.IsSet("redact") {
		if err := file("--redact", c.String("redact")); err != nil {
			return nil, err
		}
	}
	for _, name := range c.StringSlice("redact-env") {
		if err := variable("--redact-env", name); err != nil {
			return nil, err
		}
	}
	for i, source := range pol.Redact {
		env, name, err := policy.RedactSource(source)
		where := fmt.Sprintf("%s: redact[%d]", pol.Source, i)
		switch {
		case err != nil: // it was read by [policy.Parse]
		case env != "":
			err = variable(where, env)
		default:
			err = file(where, name)
		}
		if err != nil {
			return nil, err
		}
	}
	v, err := redact.New(values)
	if err != nil {
		return nil, usageError(err.Error(), fmt.Sprintf("values have %d bytes to 64 KiB of UTF-8; they are counted from the first line of --redact on", redact.MinValue))
	}
	return v, nil
}

// redactFile reads the values in a file, one a line.
func (p *program) redactFile(flag, name string) ([]string, error) {
	if name == "-" || name == "" {
		return nil, usageError(fmt.Sprintf("%s %q is not a file", flag, name), "write the values to a file that nobody else may read, one a line")
	}
	const most = redact.MaxValues * (redact.MaxValue + 2)
	f, err := os.Open(name)
	if err != nil {
		return nil, usageError(flag+": "+err.Error(), "names are relative to the current folder")
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return nil, usageError(flag+": "+err.Error(), "give a file that can be read")
	case len(data) > most:
		return nil, usageError(flag+": "+name+" has more than so many values can have", fmt.Sprintf("%d values of 64 KiB at most", redact.MaxValues))
	}
	if p.inWorkspace(name) {
		p.term.note("agenthost: warning: %s lies in the workspace, where an agent can be granted to read it: keep what is to be redacted elsewhere", name)
	}
	var values []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"); line != "" {
			values = append(values, line)
		}
	}
	if len(values) == 0 {
		return nil, usageError(flag+": "+name+" holds no value", "write one a line")
	}
	return values, nil
}

// recordedAs finds what is recorded of a file: under its name, or under one in which
// marks stand for what was redacted.
func recordedAs(recorded map[string]record.File, name string) (record.File, bool) {
	if f, ok := recorded[name]; ok {
		return f, true
	}
	marks := regexp.MustCompile(`\\\[redacted [0-9]+\\\]`)
	for path, f := range recorded {
		if !strings.Contains(path, "[redacted ") {
			continue
		}
		pattern, err := regexp.Compile("(?s)^" + marks.ReplaceAllLiteralString(regexp.QuoteMeta(path), ".+") + "$")
		if err == nil && pattern.MatchString(name) {
			return f, true
		}
	}
	return record.File{}, false
}
