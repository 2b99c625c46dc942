package archive

import (
	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/strict"
)

// A Key is one key a strict document may have, and where its value goes. A key
// that is absent leaves that as it was.
type Key struct{ field field }

// DecodeDocument reads another document of the host as a manifest is read: strict
// JSON, every key known and there once, every value of its type. $schema is
// allowed, schema must be the one that is wanted. The error is a *ManifestError
// that also carries the mistakes after the first.
func DecodeDocument(data []byte, schema string, keys ...Key) error {
	var d document
	n, ok := d.parse(data)
	if !ok || !d.want("", n, strict.Object, "") {
		return d.err()
	}
	var got, editor string
	fields := []field{{"$schema", text(&editor)}, {"schema", text(&got)}}
	for _, k := range keys {
		fields = append(fields, k.field)
	}
	d.object("", n, fields...)
	switch {
	case d.faulted("schema"):
	case got == "":
		d.fault("schema", `say "schema": "`+schema+`"`, "missing")
	case got != schema:
		d.fault("schema", `this program reads "`+schema+`"`, "unknown schema %q", got)
	}
	return d.err()
}

// TextKey is a text.
func TextKey(name string, into *string) Key { return Key{field{name, text(into)}} }

// CountKey is a whole number, from 1.
func CountKey(name string, into *int64) Key { return Key{field{name, count(into)}} }

// TextsKey is a list of texts. One that is there and empty is not nil.
func TextsKey(name string, into *[]string) Key {
	return Key{field{name, func(d *document, path string, n strict.Value) {
		*into = []string{}
		texts(into)(d, path, n)
	}}}
}

// GrantsKey is an object like a manifest's capabilities. Its patterns are not
// looked at yet.
func GrantsKey(name string, into **capability.Grants) Key {
	return Key{field{name, func(d *document, path string, n strict.Value) {
		*into = &capability.Grants{}
		d.grants(path, n, *into)
	}}}
}

// LimitsKey is an object like a manifest's limits.
func LimitsKey(name string, into *Limits) Key {
	return Key{field{name, func(d *document, path string, n strict.Value) { d.limits(path, n, into) }}}
}

// SwitchesKey is an object of truth values, whose keys are names. One that is
// there and empty leaves into nil.
func SwitchesKey(name string, names []string, into *map[string]bool) Key {
	return Key{field{name, func(d *document, path string, n strict.Value) {
		var fields []field
		for _, name := range names {
			fields = append(fields, field{name, func(d *document, path string, n strict.Value) {
				var on bool
				truth(&on)(d, path, n)
				if *into == nil {
					*into = map[string]bool{}
				}
				(*into)[name] = on
			}})
		}
		d.object(path, n, fields...)
	}}}
}
