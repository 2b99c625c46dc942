package main

import (
	"fmt"
	"strings"
)

// String is the name of a user, or their number.
func (a actor) String() string {
	if a.User != "" {
		return a.User
	}
	return fmt.Sprintf("user %d", a.UID)
}

// join lists words as a sentence does.
func join(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// short is enough of a digest to tell it from others.
func short(digest string) string { return digest[:min(len(digest), len("sha256:")+12)] }

// day is the date of a time of the ledger, with its minutes.
func day(at string) string {
	date, clock, found := strings.Cut(at, "T")
	if !found || len(clock) < 5 {
		return at
	}
	return date + " " + clock[:5]
}

func refusedText(c change) string {
	return fmt.Sprintf("%s: %s asked for %s, which was refused (%s): %s", day(c.At), c.By, c.Change, c.Code, c.Message)
}

// changeText says what a change did, in a sentence.
func changeText(c change) string {
	who := fmt.Sprintf("%s: %s ", day(c.At), c.By)
	what := c.Package.Version + " (" + short(c.Package.SHA256) + ")"
	switch c.Kind {
	case kindStore:
		return who + "put " + what + " into the store"
	case kindInstall:
		text := who + "installed " + what + " in " + c.Plane
		if c.Before != nil {
			text += " in the place of " + c.Before.Version
		}
		if c.Forced {
			text += ", an earlier version, by force"
		}
		if c.Signer != "" {
			text += ", signed by " + signer(c.Signer)
			if c.Rotated {
				text += ", who is not the one before"
			}
		}
		if len(c.Gained) > 0 {
			text += "; it may now " + join(c.Gained)
		}
		return text
	case kindUninstall:
		text := who + "took " + what + " out of " + c.Plane
		if c.Stored {
			text += "; its archive stayed in the store"
		}
		return text
	}
	return who + c.Kind + " " + what
}

// signer is the name in a verifier key, NAME+HASH+KEY, with its hash.
func signer(key string) string {
	name, rest, found := strings.Cut(key, "+")
	if !found {
		return key
	}
	hash, _, _ := strings.Cut(rest, "+")
	return name + " (key " + hash + ")"
}

func explainText(e *explained) string {
	var b strings.Builder
	say := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	if len(e.Installed) == 0 {
		say("%s is not installed.", e.ID)
	}
	for _, i := range e.Installed {
		what := "a package"
		if i.Tier != "" {
			what += " of tier " + i.Tier
		}
		name := ""
		if i.Name != "" {
			name = ", " + i.Name + ","
		}
		say("%s%s is %s, version %s, %s in plane %s since %s.", e.ID, name, what, i.Version, i.Status, i.Plane, day(i.InstalledAt))
		say("Its digest is %s.", i.SHA256)
		if i.SpecID != "" {
			say("It was made to the specification %s.", i.SpecID)
		}
		if i.Signer == "" {
			say("Nobody signed it.")
		} else {
			say("It was signed by %s.", signer(i.Signer))
		}
	}
	if len(e.Needs) > 0 {
		var needs []string
		for _, d := range e.Needs {
			needs = append(needs, strings.TrimSpace(d.ID+" "+d.Version))
		}
		say("It needs %s.", join(needs))
	}
	if len(e.NeededBy) > 0 {
		say("It is needed by %s.", join(e.NeededBy))
	}
	for _, list := range []struct {
		title  string
		events []event
	}{{"What became of it:", e.History}, {"What was refused:", e.Refused}} {
		if len(list.events) > 0 {
			say("%s", list.title)
		}
		for _, each := range list.events {
			say("- %s", each.Text)
		}
	}
	for _, d := range e.Differ {
		say("Do not rely on this: %s. agenthost integrity-check tells more.", d)
	}
	return b.String()
}

func listText(p *plane) string {
	var b strings.Builder
	for _, i := range p.installed {
		line := fmt.Sprintf("%s %s %s", i.Plane, i.ID, i.Version)
		if i.Tier != "" {
			line += ", tier " + i.Tier
		}
		if i.Name != "" {
			line += ": " + i.Name
		}
		b.WriteString(line + "\n")
	}
	if len(p.installed) == 0 {
		b.WriteString("Nothing is installed.\n")
	}
	for _, d := range p.differ {
		b.WriteString("Do not rely on this: " + d + ". agenthost integrity-check tells more.\n")
	}
	return b.String()
}
