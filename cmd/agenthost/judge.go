package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

// verdict is the answer of policy check.
type verdict struct {
	Allowed       bool            `json:"allowed"`
	Decision      string          `json:"decision"`
	Op            capability.Op   `json:"op"`
	Subject       string          `json:"subject"`
	Rule          string          `json:"rule,omitempty"`
	Grant         string          `json:"grant,omitempty"`
	SmallestGrant string          `json:"smallest_grant,omitempty"`
	Entry         json.RawMessage `json:"entry"` // the members of the ledger's entry
	Command       *commandVerdict `json:"command,omitempty"`
}

// commandVerdict is what holds for a command that is allowed.
type commandVerdict struct {
	Path     []string   `json:"path"` // in which its program is looked up
	Env      []string   `json:"env"`  // variables it gets of the operator's
	MinFence host.Fence `json:"min_fence"`
	Choice   string     `json:"choice,omitempty"` // what it leaves to the agent, in words
}

// judge asks the host what an agent would be answered. Names are those of the
// workspace, or as the agent sees them, with "/" in front.
func judge(e *capability.Enforcer, pkg *archive.Package, op capability.Op, words []string) (verdict, error) {
	v := verdict{Op: op, Subject: words[0]}
	var a host.Answer
	var err error
	if op == capability.Execute {
		v.Subject = capability.Command(words).String()
		a, err = host.AskExec(e, words)
	} else {
		a, err = host.Ask(e, pkg, op, words[0])
	}
	if err != nil {
		return v, err
	}
	v.Allowed, v.Decision, v.Grant = a.Allowed, a.Entry.Decision, a.Grant
	v.Rule, v.SmallestGrant = a.Entry.Rule, a.SmallestGrant
	v.Entry, err = ledger.Encode(a.Entry)
	return v, err
}

// showVerdict prints a verdict for people.
func (p *program) showVerdict(v verdict) {
	why := v.Rule
	switch {
	case v.Rule == record.CodeUndeclaredWrite:
		why = "granted by " + v.Grant + ", but no output declares it"
	case v.Grant != "":
		why = "granted by " + v.Grant
	}
	word := map[bool]string{true: "allowed", false: "refused"}[v.Allowed]
	text := fmt.Sprintf("%s: %s %s", word, v.Op, v.Subject)
	if why != "" {
		text += ": " + why
	}
	p.term.line("%s", text)
	if v.Decision == record.Hidden {
		p.term.line("the agent would find that it does not exist")
	}
	if v.Decision == record.Violated {
		p.term.line("the turn would end there, and nothing of it be published")
	}
	if v.SmallestGrant != "" {
		p.term.line("smallest grant: %s", v.SmallestGrant)
	}
	p.term.line("entry: %s", v.Entry)
	if c := v.Command; c != nil {
		p.term.line("looked up in: %s", strings.Join(c.Path, " "))
		if len(c.Env) > 0 {
			p.term.line("gets the variables: %s", strings.Join(c.Env, " "))
		}
		p.term.line("%s", fenceInWords(c.MinFence))
		if c.Choice != "" {
			p.term.line("beware: %s", c.Choice)
		}
	}
}
