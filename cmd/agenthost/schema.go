package main

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/abi"
	"github.com/agenthost/agenthost/capability"
	"github.com/agenthost/agenthost/host"
	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/ledger"
)

func (p *program) schemaCommand() *cli.Command {
	return &cli.Command{
		Name:      "schema",
		Usage:     "print the JSON Schema of a document",
		ArgsUsage: "manifest|policy|work_order|envelope|entry|doctor",
		Description: `manifest is a package's manifest.json, policy the operator's policy file, work_order
a file of planes/ho2/work_orders, envelope what run --json prints, entry a line of a
ledger, doctor what doctor --json prints. The schemas are made from the types the
program itself reads and writes; an editor can use them. They know shapes, not
everything: package pack and policy show check a manifest and a policy whole, policy
check --work-order a work order.`,
		Action: p.schema,
	}
}

func (p *program) schema(c *cli.Context) error {
	given, err := p.operands(c, 1, 1)
	if err != nil {
		return err
	}
	schemas := map[string]func() (*jsonschema.Schema, error){
		"manifest":   manifestSchema,
		"policy":     policySchema,
		"work_order": workOrderSchema,
		"envelope":   envelopeSchema,
		"entry":      entrySchema,
		"doctor":     doctorSchema,
	}
	makeSchema, ok := schemas[given[0]]
	if !ok {
		return usageError(fmt.Sprintf("no schema of %q", given[0]), "one of "+strings.Join(slices.Sorted(maps.Keys(schemas)), ", "))
	}
	s, err := makeSchema()
	if err != nil {
		return err
	}
	return p.term.value(s)
}

func manifestSchema() (*jsonschema.Schema, error) {
	s, err := schemaOf(reflect.TypeFor[archive.Manifest]())
	if err != nil {
		return nil, err
	}
	withoutNull(s)
	s.Title = "agenthost package manifest"
	constant(s.Properties["schema"], archive.ManifestSchema)
	s.Properties["id"].Pattern = `^PKG-[A-Za-z0-9-]{1,100}$`
	s.Properties["spec_id"].Pattern = `^SPEC-[A-Za-z0-9-]{1,100}$`
	s.Properties["tier"].Enum = []any{"T0", "T1", "T2", "T3"}
	for _, plane := range archive.Planes() {
		s.Properties["plane"].Enum = append(s.Properties["plane"].Enum, plane)
	}
	entry := s.Properties["entry"].Properties
	entry["stdin"].Enum = []any{archive.StdinRequest, archive.StdinPrompt, archive.StdinNone}
	entry["unknown_imports"].Enum = []any{archive.UnknownENOSYS}
	return s, nil
}

func policySchema() (*jsonschema.Schema, error) {
	s, err := schemaOf(reflect.TypeFor[policy.Policy]())
	if err != nil {
		return nil, err
	}
	withoutNull(s)
	s.Title = "agenthost policy"
	s.Required = []string{"schema"}
	constant(s.Properties["schema"], policy.Schema)
	requires := s.Properties["require_signature"]
	requires.Properties = map[string]*jsonschema.Schema{}
	for _, plane := range archive.Planes() {
		requires.Properties[plane] = &jsonschema.Schema{Type: "boolean"}
		requires.PropertyOrder = append(requires.PropertyOrder, plane)
	}
	requires.AdditionalProperties = &jsonschema.Schema{Not: &jsonschema.Schema{}}
	s.Properties["$schema"] = &jsonschema.Schema{Type: "string"}
	return s, nil
}

func workOrderSchema() (*jsonschema.Schema, error) {
	s, err := schemaOf(reflect.TypeFor[policy.WorkOrder]())
	if err != nil {
		return nil, err
	}
	withoutNull(s)
	s.Title = "agenthost work order"
	constant(s.Properties["schema"], policy.WorkOrderSchema)
	s.Properties["$schema"] = &jsonschema.Schema{Type: "string"}
	s.Properties["id"].Pattern = `^WO-[A-Za-z0-9-]{1,100}$`
	least, one := 1.0, 1
	s.Properties["packages"].MinItems = &one
	s.Properties["turns"].Minimum = &least
	return s, nil
}

func envelopeSchema() (*jsonschema.Schema, error) {
	s, err := schemaOf(reflect.TypeFor[host.Envelope]())
	if err != nil {
		return nil, err
	}
	withoutNull(s)
	s.Title = "agenthost run --json"
	s.Properties["status"].Enum = []any{
		record.StatusOK, record.StatusDryRun, record.StatusError, record.StatusBlocked, record.StatusRefused, record.StatusAborted,
	}
	s.Properties["result"] = &jsonschema.Schema{} // any value
	s.Properties["result_base64"] = &jsonschema.Schema{Type: "string", ContentEncoding: "base64"}
	return s, nil
}

func doctorSchema() (*jsonschema.Schema, error) {
	s, err := schemaOf(reflect.TypeFor[diagnosis]())
	if err != nil {
		return nil, err
	}
	withoutNull(s)
	s.Title = "agenthost doctor --json"
	for _, f := range host.Fences() {
		s.Properties["min_fence"].Enum = append(s.Properties["min_fence"].Enum, string(f))
	}
	s.Properties["fence"].Enum = append(slices.Clone(s.Properties["min_fence"].Enum), string(host.FenceNone))
	s.Properties["code"].Enum = []any{abi.CodeUnsupported}
	return s, nil
}

// entrySchema describes a line of a ledger: members all entries have, and those
// of the entry's kind.
func entrySchema() (*jsonschema.Schema, error) {
	whole := &jsonschema.Schema{Schema: jsonschemaDraft, Title: "agenthost ledger entry"}
	for _, body := range []ledger.Body{
		record.SessionOpen{},
		record.SessionResume{},
		record.TurnBegin{},
		record.Op{},
		record.Digest{},
		record.ExecStart{},
		record.ExecEnd{},
		record.Stderr{},
		record.TurnEnd{},
		record.Recovered{},
		record.Erased{},
		record.SessionClose{},
		record.Violation{},
		record.TurnEvidence{},
		record.ControlInit{},
		record.TokenRotate{},
		record.SignerTrust{},
		record.SignerDistrust{},
		record.PackageStore{},
		record.PackageInstall{},
		record.PackageUninstall{},
		record.RegistryRebuild{},
		record.SessionPrune{},
		record.SessionErase{},
		record.LedgerRepair{},
		record.ChangeRefused{},
		record.WorkOrderTurn{},
		record.ContextSnapshot{},
		record.HostKey{},
		ledger.Seal{},
	} {
		s, err := schemaOf(reflect.TypeOf(body))
		if err != nil {
			return nil, err
		}
		embedded := s
		switch body.Kind() {
		case record.KindExecStart:
			embedded = s.Properties["view"]
			fallthrough
		case record.KindStderr:
			// A member of the embedded Blob has its name, and is lost by that.
			blob, err := schemaOf(reflect.TypeFor[record.Blob]())
			if err != nil {
				return nil, err
			}
			embedded.Properties["blob"] = blob.Properties["blob"]
			embedded.Required = append([]string{"blob"}, embedded.Required...)
			embedded.PropertyOrder = append([]string{"blob"}, embedded.PropertyOrder...)
		}
		nullable := s.Properties["publish"]
		withoutNull(s)
		if nullable != nil {
			base := nullable.Items.Properties["base"]
			base.Type, base.Types = "", []string{"string", "null"}
		}
		s.Schema, s.Title = "", body.Kind()
		if s.Properties == nil {
			s.Properties = map[string]*jsonschema.Schema{}
		}
		own, order := s.Required, s.PropertyOrder
		s.Required, s.PropertyOrder = nil, nil
		for _, m := range envelopeMembers(body.Kind()) {
			if m.name == "prev" {
				s.Required, s.PropertyOrder = append(s.Required, own...), append(s.PropertyOrder, order...)
			}
			s.Properties[m.name] = m.schema
			s.Required, s.PropertyOrder = append(s.Required, m.name), append(s.PropertyOrder, m.name)
		}
		whole.OneOf = append(whole.OneOf, s)
	}
	return whole, nil
}

type member struct {
	name   string
	schema *jsonschema.Schema
}

// envelopeMembers are what every line begins and ends with; see LEDGER.md, "A
// line". The members of the kind stand before prev.
func envelopeMembers(kind string) []member {
	zero, number := 0.0, func(least *float64) *jsonschema.Schema {
		return &jsonschema.Schema{Type: "integer", Minimum: least}
	}
	hex := func() *jsonschema.Schema { return &jsonschema.Schema{Type: "string", Pattern: "^[0-9a-f]{64}$"} }
	v, k := &jsonschema.Schema{}, &jsonschema.Schema{}
	constant(v, 1)
	constant(k, kind)
	return []member{
		{"v", v},
		{"seq", number(&zero)},
		{"ts", &jsonschema.Schema{Type: "string", Format: "date-time"}},
		{"mono_ns", number(&zero)},
		{"kind", k},
		{"sid", &jsonschema.Schema{Type: "string"}},
		{"turn", number(&zero)},
		{"prev", hex()},
		{"hash", hex()},
	}
}

const jsonschemaDraft = "https://json-schema.org/draft/2020-12/schema"

// schemaOf makes the schema of a type as its strict reader takes it: no other
// members.
func schemaOf(t reflect.Type) (*jsonschema.Schema, error) {
	least := 1.0
	digest := &jsonschema.Schema{Type: "string", Pattern: "^sha256:[0-9a-f]{64}$"}
	s, err := jsonschema.ForType(t, &jsonschema.ForOptions{TypeSchemas: map[reflect.Type]*jsonschema.Schema{
		reflect.TypeFor[ledger.Hash]():       digest,
		reflect.TypeFor[policy.Acceptance](): {Type: "string", Pattern: "^PKG-[A-Za-z0-9-]{1,100}@sha256:[0-9a-f]{64}$"},
		reflect.TypeFor[policy.Named]():      {Type: "string", Pattern: "^PKG-[A-Za-z0-9-]{1,100}(@sha256:[0-9a-f]{64})?$"},
		reflect.TypeFor[time.Time]():         {Type: "string", Format: "date-time"},
		reflect.TypeFor[archive.Duration]():  {Type: "string"},
		reflect.TypeFor[archive.Size](): {AnyOf: []*jsonschema.Schema{
			{Type: "integer", Minimum: &least},
			{Type: "string", Pattern: "^[0-9]+(B|KiB|MiB|GiB)?$"},
		}},
		reflect.TypeFor[capability.Command](): {AnyOf: []*jsonschema.Schema{
			{Type: "string"},
			{Type: "array", Items: &jsonschema.Schema{Type: "string"}},
		}},
	}})
	if err != nil {
		return nil, fmt.Errorf("schema of %s: %w", t, err)
	}
	s.Schema = jsonschemaDraft
	return s, nil
}

// withoutNull takes away null, which Go's types have and our documents do not:
// what is absent is left out.
func withoutNull(s *jsonschema.Schema) {
	if s == nil {
		return
	}
	if s.Types = slices.DeleteFunc(s.Types, func(t string) bool { return t == "null" }); len(s.Types) == 1 {
		s.Type, s.Types = s.Types[0], nil
	}
	for _, p := range s.Properties {
		withoutNull(p)
	}
	withoutNull(s.Items)
	for _, a := range s.AnyOf {
		withoutNull(a)
	}
}

func constant(s *jsonschema.Schema, value any) { s.Const = &value }
