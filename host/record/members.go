package record

import (
	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/ledger"
)

// list writes an array of objects, empty ones too.
func list[T interface{ appendMembers(*ledger.Members) }](m *ledger.Members, name string, items []T) {
	m.Array(name, func(m *ledger.Members) {
		for i := range items {
			m.Object("", items[i].appendMembers)
		}
	})
}

func words[S ~[]string](m *ledger.Members, name string, items S) {
	m.Array(name, func(m *ledger.Members) {
		for _, s := range items {
			m.Str("", s)
		}
	})
}

// grants writes rights as a manifest does, every command as an array of words.
func grants(m *ledger.Members, name string, g capability.Grants) {
	m.Object(name, func(m *ledger.Members) {
		if len(g.Read) > 0 {
			words(m, "read", g.Read)
		}
		if len(g.Write) > 0 {
			words(m, "write", g.Write)
		}
		if len(g.Execute) > 0 {
			m.Array("execute", func(m *ledger.Members) {
				for _, c := range g.Execute {
					words(m, "", c)
				}
			})
		}
		if len(g.Forbidden) > 0 {
			words(m, "forbidden", g.Forbidden)
		}
	})
}

func blob(m *ledger.Members, name string, b *Blob) {
	if b != nil {
		m.Object(name, b.appendMembers)
	}
}

func text(m *ledger.Members, name, value string) {
	if value != "" {
		m.Str(name, value)
	}
}

func isTrue(m *ledger.Members, name string, value bool) {
	if value {
		m.Bool(name, true)
	}
}
