package archive

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
)

// version is a semantic version, https://semver.org/spec/v2.0.0.html
type version struct {
	core [3]string // major, minor, patch: digits without leading zeros
	pre  []string
}

func parseVersion(s string) (version, error) {
	bad := fmt.Errorf("%q is not a semantic version; say it as 1.2.3", s)
	if len(s) > 100 {
		return version{}, errors.New("a version has at most 100 bytes")
	}
	rest, build, hasBuild := strings.Cut(s, "+")
	if hasBuild && !identifiers(strings.Split(build, "."), false) {
		return version{}, bad
	}
	core, pre, hasPre := strings.Cut(rest, "-")
	var v version
	if hasPre {
		v.pre = strings.Split(pre, ".")
		if !identifiers(v.pre, true) {
			return version{}, bad
		}
	}
	numbers := strings.Split(core, ".")
	if len(numbers) != 3 {
		return version{}, bad
	}
	for i, n := range numbers {
		if !numeric(n) || len(n) > 1 && n[0] == '0' {
			return version{}, bad
		}
		v.core[i] = n
	}
	return v, nil
}

func identifiers(list []string, noLeadingZero bool) bool {
	for _, s := range list {
		if s == "" || strings.Trim(s, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-") != "" {
			return false
		}
		if noLeadingZero && numeric(s) && len(s) > 1 && s[0] == '0' {
			return false
		}
	}
	return true
}

func numeric(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// compareNumbers compares digits without leading zeros, of any length.
func compareNumbers(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

func (v version) compare(w version) int {
	for i := range v.core {
		if c := compareNumbers(v.core[i], w.core[i]); c != 0 {
			return c
		}
	}
	switch {
	case v.pre == nil && w.pre == nil:
		return 0
	case v.pre == nil:
		return 1
	case w.pre == nil:
		return -1
	}
	for i := range min(len(v.pre), len(w.pre)) {
		if c := comparePre(v.pre[i], w.pre[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(v.pre), len(w.pre))
}

func comparePre(a, b string) int {
	switch na, nb := numeric(a), numeric(b); {
	case na && nb:
		return compareNumbers(a, b)
	case na:
		return -1
	case nb:
		return 1
	}
	return strings.Compare(a, b)
}

// comparator is one condition of a range.
type comparator struct {
	op      string
	version version
}

func (c comparator) accepts(v version) bool {
	order := v.compare(c.version)
	switch c.op {
	case ">=":
		return order >= 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	case "<":
		return order < 0
	}
	return order == 0
}

func parseRange(s string) ([]comparator, error) {
	var list []comparator
	for part := range strings.SplitSeq(s, ",") {
		part = strings.Trim(part, " ")
		digits := strings.TrimLeft(part, "<>=~^!")
		c := comparator{op: part[:len(part)-len(digits)]}
		switch c.op {
		case ">=", "<=", ">", "<", "=":
		default:
			return nil, fmt.Errorf(`%q is not a version range; say it with >=, >, <=, < or =, as ">=0.1.0, <1.0.0"`, s)
		}
		v, err := parseVersion(strings.TrimLeft(digits, " "))
		if err != nil {
			return nil, err
		}
		c.version = v
		list = append(list, c)
	}
	return list, nil
}

// Accepts reports whether a version satisfies the dependency's range: each of its
// comparators (>=, >, <=, <, =), separated by commas, holds. A pre-release
// satisfies only a range that names a pre-release of the same three numbers.
// Nothing satisfies a malformed range, and no malformed version satisfies any.
func (d Dependency) Accepts(text string) bool {
	v, err := parseVersion(text)
	if err != nil {
		return false
	}
	if d.Version == "" {
		return v.pre == nil
	}
	list, err := parseRange(d.Version)
	if err != nil {
		return false
	}
	named := v.pre == nil
	for _, c := range list {
		if !c.accepts(v) {
			return false
		}
		named = named || c.version.pre != nil && c.version.core == v.core
	}
	return named
}

// CompareVersions is negative if version a comes before b, positive if it comes
// after, and zero if neither does, as with builds of one version. What is no
// version comes before every one.
func CompareVersions(a, b string) int {
	v, errA := parseVersion(a)
	w, errB := parseVersion(b)
	switch {
	case errA != nil && errB != nil:
		return 0
	case errA != nil:
		return -1
	case errB != nil:
		return 1
	}
	return v.compare(w)
}
