package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host/internal/strict"
	"github.com/agenthost/agenthost/ledger"
)

// ParseManifest reads manifest v1 and checks all of it. Every error is a
// *ManifestError that also carries the mistakes after the first.
func ParseManifest(data []byte) (Manifest, error) {
	m, d, ok := decodeManifest(data)
	if ok {
		m.check(d)
	}
	if err := d.err(); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// decodeManifest reads the JSON and notes what has the wrong type or name. It
// gives false where nothing can be said about the values.
func decodeManifest(data []byte) (Manifest, *document, bool) {
	var m Manifest
	var d document
	n, ok := d.parse(data)
	if !ok || !d.schemaKnown(n) {
		return m, &d, false
	}
	d.object("", n,
		field{"$schema", text(&m.SchemaURL)},
		field{"schema", text(&m.Schema)},
		field{"id", text(&m.ID)},
		field{"version", text(&m.Version)},
		field{"name", text(&m.Name)},
		field{"description", text(&m.Description)},
		field{"license", text(&m.License)},
		field{"tier", text(&m.Tier)},
		field{"plane", text(&m.Plane)},
		field{"spec_id", text(&m.SpecID)},
		field{"entry", func(d *document, path string, n strict.Value) { m.Entry = d.entry(path, n) }},
		field{"capabilities", func(d *document, path string, n strict.Value) { d.grants(path, n, &m.Capabilities) }},
		field{"inputs", texts(&m.Inputs)},
		field{"outputs", list(&m.Outputs, (*document).output)},
		field{"limits", func(d *document, path string, n strict.Value) { d.limits(path, n, &m.Limits) }},
		field{"dependencies", list(&m.Dependencies, (*document).dependency)},
		field{"files", list(&m.Files, (*document).file)},
	)
	return m, &d, true
}

// schemaKnown looks at the schema first: what a later version wrote cannot be
// judged by the keys of this one.
func (d *document) schemaKnown(n strict.Value) bool {
	if !d.want("", n, strict.Object, "") {
		return false
	}
	for _, m := range n.Members {
		if m.Name != "schema" || m.Value.Kind != strict.Text {
			continue
		}
		const hint = `this program reads "` + ManifestSchema + `"`
		version, ok := strings.CutPrefix(m.Value.Text, strings.TrimSuffix(ManifestSchema, "1"))
		major, minor, dotted := strings.Cut(version, ".")
		if !dotted {
			minor = "0"
		}
		switch {
		case m.Value.Text == ManifestSchema:
			return true
		case ok && plainNumber(major) && plainNumber(minor) && (major != "1" || minor != "0"):
			d.fault("schema", `update agenthost, or say "`+ManifestSchema+`"`, "%q needs agenthost ≥ %s.%s", m.Value.Text, major, minor)
		default:
			d.fault("schema", hint, "unknown schema %q", m.Value.Text)
		}
		return false
	}
	return true
}

// plainNumber reports whether s is a number without leading zeros, as schemas
// are numbered.
func plainNumber(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && strconv.FormatUint(n, 10) == s
}

func (d *document) entry(path string, n strict.Value) *Entry {
	var e Entry
	d.object(path, n,
		field{"module", text(&e.Module)},
		field{"args", texts(&e.Args)},
		field{"env", func(d *document, path string, n strict.Value) { d.env(path, n, &e) }},
		field{"stdin", text(&e.Stdin)},
		field{"unknown_imports", text(&e.UnknownImports)},
		field{"kind", func(d *document, path string, n strict.Value) {
			d.fault(path, "leave it out", "not in this version: every turn gets a fresh instance of a command")
		}},
	)
	return &e
}

func (d *document) env(path string, n strict.Value, e *Entry) {
	if !d.want(path, n, strict.Object, `say {"NAME": "value"}`) || len(n.Members) == 0 {
		return
	}
	e.Env = make(map[string]string, len(n.Members))
	for _, m := range n.Members {
		at := strict.Join(path, m.Name)
		if d.want(at, m.Value, strict.Text, "put the value in quotes") {
			e.Env[m.Name] = m.Value.Text
		}
	}
}

func (d *document) grants(path string, n strict.Value, g *capability.Grants) {
	d.object(path, n,
		field{"read", texts(&g.Read)},
		field{"write", texts(&g.Write)},
		field{"execute", list(&g.Execute, (*document).command)},
		field{"forbidden", texts(&g.Forbidden)},
	)
}

// command takes one rule of execute. How a text falls into words is the
// capability package's affair.
func (d *document) command(path string, n strict.Value, into *capability.Command) {
	var spelled any = n.Text
	switch n.Kind {
	case strict.Text:
	case strict.List:
		words := make([]string, len(n.Items))
		for i, word := range n.Items {
			at := strict.Item(path, i)
			if text(&words[i])(d, at, word); word.Kind != strict.Text {
				return
			}
		}
		spelled = words
	default:
		d.fault(path, "", "want a text or a list of words, got %s", n.Kind)
		return
	}
	rule, err := json.Marshal(spelled)
	if err == nil {
		err = json.Unmarshal(rule, into)
	}
	if err != nil {
		d.grantFault(path, err)
	}
}

// grantFault notes an error of the capability package, whose reasons go on from
// the pattern they speak of.
func (d *document) grantFault(path string, err error) {
	var g *capability.GrantError
	if !errors.As(err, &g) {
		d.fault(path, "", "%s", err)
		return
	}
	what := g.Reason
	if g.Pattern != "" {
		what = fmt.Sprintf("%q %s", g.Pattern, g.Reason)
	}
	d.fault(path, g.Hint, "%s", what)
}

func (d *document) output(path string, n strict.Value, into *Output) {
	if n.Kind == strict.Text {
		d.fault(path, fmt.Sprintf(`say {"path": %q, "role": "…"}`, n.Text), "want an object, got a text")
		return
	}
	d.object(path, n,
		field{"path", text(&into.Path)},
		field{"role", text(&into.Role)},
		field{"optional", truth(&into.Optional)},
		field{"executable", truth(&into.Executable)},
	)
}

func (d *document) limits(path string, n strict.Value, l *Limits) {
	d.object(path, n,
		field{"memory", size(&l.Memory)},
		field{"time", duration(&l.Time)},
		field{"fuel", count(&l.Fuel)},
		field{"output_bytes", size(&l.OutputBytes)},
		field{"output_files", count(&l.OutputFiles)},
		field{"result_bytes", size(&l.ResultBytes)},
		field{"entries", count(&l.Entries)},
		field{"call_depth", count(&l.CallDepth)},
	)
}

func size(into *Size) func(*document, string, strict.Value) {
	return func(d *document, path string, n strict.Value) {
		if n.Kind != strict.Number && !d.want(path, n, strict.Text, `say it in bytes, or as "64KiB", "256MiB", "1GiB"`) {
			return
		}
		parsed, err := ParseSize(n.Text)
		if err != nil {
			d.fault(path, "", "%s: %s", spelling(n), err)
			return
		}
		*into = parsed
	}
}

func duration(into *Duration) func(*document, string, strict.Value) {
	return func(d *document, path string, n strict.Value) {
		if !d.want(path, n, strict.Text, `say it with its unit, as "60s", "5m", "250ms"`) {
			return
		}
		parsed, err := ParseDuration(n.Text)
		if err != nil {
			d.fault(path, "", "%s: %s", spelling(n), err)
			return
		}
		*into = parsed
	}
}

func count(into *int64) func(*document, string, strict.Value) {
	return func(d *document, path string, n strict.Value) {
		if !d.want(path, n, strict.Number, "") {
			return
		}
		parsed, err := parseCount(n.Text)
		if err != nil {
			d.fault(path, "", "%s: %s", n.Text, err)
			return
		}
		*into = parsed
	}
}

func (d *document) dependency(path string, n strict.Value, into *Dependency) {
	if n.Kind == strict.Text {
		d.fault(path, fmt.Sprintf(`say {"id": %q}`, n.Text), "want an object, got a text")
		return
	}
	d.object(path, n,
		field{"id", text(&into.ID)},
		field{"version", text(&into.Version)},
	)
}

func (d *document) file(path string, n strict.Value, into *File) {
	d.object(path, n,
		field{"path", text(&into.Path)},
		field{"sha256", func(d *document, path string, n strict.Value) {
			if !d.want(path, n, strict.Text, "") {
				return
			}
			h, err := ledger.ParseHash(n.Text)
			if err != nil {
				d.fault(path, `say "sha256:" and 64 hex digits`, "%s is not a digest", spelling(n))
				return
			}
			into.SHA256 = h
		}},
		field{"size", func(d *document, path string, n strict.Value) {
			if !d.want(path, n, strict.Number, "") {
				return
			}
			if n.Text == "0" {
				return
			}
			size, err := parseCount(n.Text)
			if err != nil {
				d.fault(path, "", "%s is not a number of bytes", n.Text)
				return
			}
			into.Size = size
		}},
	)
}

// spelling is how a text or number stands in the document.
func spelling(n strict.Value) string {
	if n.Kind == strict.Text {
		return strconv.Quote(n.Text)
	}
	return n.Text
}
