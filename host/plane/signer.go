package plane

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/host/archive"
)

// checkKey refuses what is no verifier key.
func checkKey(key string) error {
	err := archive.CheckKey(key)
	var bad *archive.KeyError
	if errors.As(err, &bad) {
		return &RefusedError{CodeNotTrusted, bad.What, bad.Hint}
	}
	return err
}

// checkSignature finds out which of the keys signed a package.
func checkSignature(pkg *archive.Package, signature []byte, keys []string) (string, error) {
	key, err := archive.CheckSignature(pkg, signature, keys)
	var bad *archive.SignatureError
	var badKey *archive.KeyError
	switch {
	case errors.As(err, &bad):
		r := &RefusedError{CodeNotTrusted, "the signature of " + pkg.Manifest.ID + ": " + bad.What, bad.Hint}
		if bad.Signers != nil {
			r.Code = CodeSignerUnknown
			r.What += ", but " + strings.Join(bad.Signers, ", ")
		}
		return "", r
	case errors.As(err, &badKey):
		return "", fmt.Errorf("a key that governance.jsonl has: %w", err)
	}
	return key, err
}

// checkSigner finds out who signed a package, and whether that will do: "" if
// nobody did and nobody has to.
func (c *Change) checkSigner(pkg *archive.Package, in string, o InstallOptions) (string, error) {
	id := pkg.Manifest.ID
	before := c.now.Signers[id]
	if o.Signature == nil {
		switch {
		case before != "":
			return "", &RefusedError{CodeNotTrusted, fmt.Sprintf("%s was installed signed by %s, and this one is not signed", id, archive.KeyName(before)), "get its signature, the file ARCHIVE.sig"}
		case o.RequireSignature:
			return "", &RefusedError{CodeNotTrusted, fmt.Sprintf("the policy wants what is installed in %s signed, and %s is not", in, id), "get its signature, the file ARCHIVE.sig"}
		}
		return "", nil
	}
	keys := slices.Clone(c.now.Trusted)
	// If several signed it, the one before counts.
	slices.SortStableFunc(keys, func(a, b string) int {
		switch {
		case a == before && b != before:
			return -1
		case b == before && a != before:
			return 1
		}
		return 0
	})
	key, err := checkSignature(pkg, o.Signature, keys)
	if err != nil {
		return "", err
	}
	if before == "" || key == before {
		return key, nil
	}
	if o.RotateSigner != key && o.RotateSigner != archive.KeyName(key) {
		return "", &RefusedError{
			CodeNotTrusted, fmt.Sprintf("%s was installed signed by %s, and this one is signed by %s", id, archive.KeyName(before), archive.KeyName(key)),
			"if that is as it should be, say so with --rotate-signer " + archive.KeyName(key),
		}
	}
	return key, nil
}
