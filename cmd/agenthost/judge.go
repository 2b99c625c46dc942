package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/agenthost/agenthost/capability"
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
}

// judge asks the enforcer what a guest would be answered. Names are those of the
// workspace, or as the guest sees them, with "/" in front.
func judge(e *capability.Enforcer, op capability.Op, words []string) (verdict, error) {
	v := verdict{Op: op, Subject: words[0]}
	entry := record.Op{Op: record.OpOpen, Via: record.ViaWASI, Errno: record.ErrnoSuccess}
	var err error
	var grant capability.Grant
	if op == capability.Execute {
		v.Subject = capability.Command(words).String()
		entry.Op, entry.Via, entry.Path = record.OpExec, record.ViaABI, v.Subject
		grant, err = e.CheckExec(words)
	} else {
		entry.Path = ledgerName(words[0])
		entry.Flags = string(op)
		if op == capability.Write {
			entry.Flags = "write,create,trunc"
		}
		if v.Decision, v.Rule = withoutGrant(e, op, entry.Path); v.Decision == "" {
			grant, err = e.Check(op, entry.Path)
		}
	}
	var refused *capability.Violation
	switch {
	case v.Decision == record.InPkg && op == capability.Write:
		entry.Errno = "rofs"
	case v.Decision != "":
		v.Allowed = true
	case err == nil:
		v.Allowed, v.Decision, v.Grant = true, record.Granted, grant.Pattern
	case !errors.As(err, &refused):
		return v, err
	default:
		v.Decision, entry.Errno = record.Violated, "perm"
		if op == capability.Read && !refused.Forbidden {
			v.Decision, entry.Errno = record.Hidden, "noent"
		}
		v.Rule, v.SmallestGrant = refused.Rule, refused.SmallestGrant
		entry.Rule, entry.SmallestGrant = v.Rule, v.SmallestGrant
	}
	entry.Decision = v.Decision
	v.Entry, err = ledger.Encode(entry)
	return v, err
}

// ledgerName is how a ledger spells what the guest calls name.
func ledgerName(name string) string {
	name = strings.TrimPrefix(name, "/")
	if rest, ok := strings.CutPrefix(name, "out/"); ok {
		return "output/<session_id>/" + rest
	}
	if rest, ok := strings.CutPrefix(name, ".agenthost/pkg/"); ok {
		return "pkg:" + rest
	}
	if rest, ok := strings.CutPrefix(name, ".agenthost/deps/"); ok {
		return "deps:" + rest
	}
	return name
}

// withoutGrant decides on the names that need none: what the session made itself
// and what lies in packages.
func withoutGrant(e *capability.Enforcer, op capability.Op, name string) (decision, rule string) {
	switch {
	case strings.HasPrefix(name, "pkg:"), strings.HasPrefix(name, "deps:"):
		if op == capability.Write {
			return record.InPkg, "packages are read-only"
		}
		return record.InPkg, ""
	case strings.HasPrefix(name, "tmp/"):
		return record.Own, ""
	case strings.HasPrefix(name, "output/<session_id>/"):
		if _, forbidden := e.Forbids(name); !forbidden {
			return record.Own, ""
		}
	}
	return "", ""
}

// showVerdict prints a verdict for people.
func (p *program) showVerdict(v verdict) {
	why := v.Rule
	if v.Grant != "" {
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
}
