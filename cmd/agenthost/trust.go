package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/agenthost/agenthost/host/archive"
	"github.com/agenthost/agenthost/host/plane"
	"github.com/agenthost/agenthost/host/policy"
	"github.com/agenthost/agenthost/host/record"
)

// origin is where a package that is to take part in a turn came from.
type origin struct {
	pkg    *archive.Package
	file   string // as it was named; empty of one that is installed
	signer string // of one that is installed: the verifier key, if it was signed
}

// trust refuses a turn with packages that must be signed and are not as they must
// be. A policy may say so of a plane: the one in force, or that of the root, from
// which --policy takes nothing away here. And in a control plane where a package of
// an id was installed signed, a file with that id must be signed with the same key,
// whatever the policy says: nobody comes in the place of what an operator knows. Of
// what is installed the plane itself has checked the signature.
func (p *program) trust(c *cli.Context, from *sources, in string, pkg named, libs []named, inForce *policy.Policy) error {
	own, err := policy.Load("", from.root.Path())
	if err != nil {
		return err
	}
	by := ""
	switch {
	case inForce.RequireSignature[in]:
		by = forPeople(inForce.Source)
	case own.RequireSignature[in]:
		by = forPeople(own.Source)
	}
	var state plane.State
	if from.root.Control() {
		if err := from.ask(); err != nil {
			return err
		}
		state = from.plane.State()
	}
	files := append([]string{c.Args().First()}, c.StringSlice("library")...)
	for i, n := range append([]named{pkg}, libs...) {
		o := origin{pkg: n.Package}
		if n.installed != nil {
			o.signer = n.installed.Signer
		} else {
			o.file = files[i] // libraries that were named come first
		}
		if err := p.trustOne(state, in, by, o); err != nil {
			return err
		}
	}
	return nil
}

// trustOne is trust of one package. By is the policy that wants it signed, or empty.
func (p *program) trustOne(state plane.State, in, by string, o origin) error {
	id := o.pkg.Manifest.ID
	pinned := state.Signers[id]
	why := fmt.Sprintf("%s was installed here signed by %s", id, archive.KeyName(pinned))
	switch {
	case o.file == "":
		if by == "" || o.signer != "" {
			return nil
		}
		return p.refuse(record.CodeNotTrusted,
			fmt.Sprintf("%s wants what runs in %s signed, and %s was installed unsigned", by, in, id),
			"install it again with its signature beside the archive")
	case pinned == "" && by == "":
		return nil
	case pinned == "":
		why = fmt.Sprintf("%s wants what runs in %s signed", by, in)
	}
	signature, err := archive.ReadSignature(o.file)
	switch {
	case isFolder(o.file):
		return p.refuse(record.CodeNotTrusted, fmt.Sprintf("%s, and %s is a folder, which cannot be signed", why, o.file), "pack it, and have it signed with agenthost package sign")
	case isModule(o.file):
		return p.refuse(record.CodeNotTrusted, fmt.Sprintf("%s, and %s is a bare module, which cannot be signed", why, o.file), "make a package of it, and have it signed with agenthost package sign")
	case errors.Is(err, fs.ErrNotExist):
		return p.refuse(record.CodeNotTrusted, fmt.Sprintf("%s, and %s is not signed", why, o.file), "get its signature, "+o.file+archive.SignatureSuffix)
	case err != nil:
		return openError(o.file+archive.SignatureSuffix, err)
	}
	return p.trustSignature(state, pinned, why, o, signature)
}

// trustSignature is trustOne of a file that is signed.
func (p *program) trustSignature(state plane.State, pinned, why string, o origin, signature []byte) error {
	keys := slices.Clone(state.Trusted)
	if i := slices.Index(keys, pinned); i >= 0 { // of several who signed, it is the one who counts
		keys[0], keys[i] = keys[i], keys[0]
	}
	signer, err := archive.CheckSignature(o.pkg, signature, keys)
	var bad *archive.SignatureError
	switch {
	case errors.As(err, &bad) && bad.Signers != nil:
		return p.refuse(record.CodeSignerUnknown,
			fmt.Sprintf("%s, and %s is signed by nobody who is trusted here, but, it says, by %s", why, o.file, strings.Join(bad.Signers, ", ")),
			"get the verifier key of who signed it from whom you trust, then agenthost control signer add")
	case errors.As(err, &bad):
		return p.refuse(record.CodeNotTrusted, fmt.Sprintf("%s, and the signature of %s does not count: %s", why, o.file, bad.What), bad.Hint)
	case err != nil:
		return err
	case pinned != "" && signer != pinned:
		return p.refuse(record.CodeNotTrusted, fmt.Sprintf("%s, and %s is signed by %s", why, o.file, archive.KeyName(signer)),
			"if that is as it should be, install it with --rotate-signer "+archive.KeyName(signer))
	}
	return nil
}

// notTrusted is why a package could not be taken out of the plane, in the form in
// which a run is refused if it is that.
func (p *program) notTrusted(err error) error {
	var r *plane.RefusedError
	if !errors.As(err, &r) {
		return err
	}
	return p.refuse(r.Code, r.What, r.Hint)
}
