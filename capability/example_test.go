package capability_test

import (
	"errors"
	"fmt"

	"github.com/agenthost/agenthost/capability"
)

func Example() {
	asked, err := capability.New(capability.Grants{
		Read:      []string{"docs/**", "config/*"},
		Write:     []string{"reports/*.md", "out/**"},
		Execute:   []capability.Command{{"git", "log", "--oneline"}},
		Forbidden: []string{"docs/private/**"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	operator := capability.AsAsked()
	operator.Withhold, operator.AllowExecute = capability.SecretNames(), false
	granted, err := asked.Attenuate(operator)
	if err != nil {
		fmt.Println(err)
		return
	}
	turn := granted.Bind("SES-20260102T030405Z-f00d")

	for _, name := range []string{"docs/a.md", "docs/private/a.md", "config/.env", "notes.txt"} {
		grant, err := turn.Check(capability.Read, name)
		var v *capability.Violation
		switch {
		case err == nil:
			fmt.Printf("%s: granted by %s\n", name, grant.Pattern)
		case errors.As(err, &v) && v.SmallestGrant != "":
			fmt.Printf("%s: %s; %s would\n", name, v.Rule, v.SmallestGrant)
		default:
			fmt.Println(err)
		}
	}
	if _, err := turn.Check(capability.Write, "output/SES-20260102T030405Z-f00d/report.md"); err == nil {
		fmt.Println("out/report.md: may be written")
	}
	if _, err := turn.CheckExec([]string{"git", "log", "--oneline"}); err != nil {
		fmt.Println(err)
	}
	fmt.Println("docs visible:", turn.Reaches(capability.Read, "docs"), "docs/private visible:", turn.Reaches(capability.Read, "docs/private"))
	// Output:
	// docs/a.md: granted by docs/**
	// read "docs/private/a.md" refused: forbidden docs/private/**
	// read "config/.env" refused: withheld **/.env*
	// notes.txt: no grant of read; read: ["notes.txt"] would
	// out/report.md: may be written
	// execute "git log --oneline" refused: no grant of execute by the operator
	// docs visible: true docs/private visible: false
}

func ExampleGrantError() {
	_, err := capability.New(capability.Grants{Read: []string{"docs/**", "/etc/passwd"}})
	fmt.Println(err)
	var ge *capability.GrantError
	if errors.As(err, &ge) {
		fmt.Println("hint:", ge.Hint)
	}
	// Output:
	// read[1] "/etc/passwd": begins with /
	// hint: patterns are relative to the workspace: write etc/passwd
}
