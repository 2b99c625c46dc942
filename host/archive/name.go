package archive

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of a name within a package.
const (
	maxName    = 1024 // bytes
	maxSegment = 255  // bytes between slashes, as filesystems have it
	maxNesting = 64   // folders
)

// checkName reports what keeps name from being the name of a file in a package:
// a relative slash path in UTF-8 that every filesystem can hold and every
// terminal can show.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("a name cannot be empty")
	case len(name) > maxName:
		return fmt.Errorf("a name has at most %d bytes", maxName)
	case !utf8.ValidString(name):
		return errors.New("the name is not UTF-8")
	case name[0] == '/':
		return errors.New("the name is absolute")
	case strings.Contains(name, `\`):
		return errors.New("the name holds a backslash")
	case strings.Count(name, "/") > maxNesting:
		return fmt.Errorf("the name goes deeper than %d folders", maxNesting)
	}
	for segment := range strings.SplitSeq(name, "/") {
		switch {
		case segment == "":
			return errors.New("the name has an empty part")
		case segment == "." || segment == "..":
			return fmt.Errorf("the name holds %q", segment)
		case len(segment) > maxSegment:
			return fmt.Errorf("a part of the name has more than %d bytes", maxSegment)
		}
	}
	for _, r := range name {
		switch {
		case r == utf8.RuneError, unicode.IsControl(r), unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp):
			return fmt.Errorf("the name holds the invisible character %U", r)
		case decomposed(r):
			return fmt.Errorf("the name holds %U, which has a second spelling; use composed characters (NFC)", r)
		}
	}
	return nil
}

// decomposed reports whether r can be half of a character that also has a
// spelling of its own, or is such a second spelling. Filesystems that normalize
// make one name of the two. Without the tables of Unicode normalization this
// covers the scripts where both spellings are in use: combining marks of Latin,
// Greek and Cyrillic, of Hebrew, Arabic and Kana, conjoining Hangul, and the
// compatibility ideographs.
func decomposed(r rune) bool {
	return r >= 0x0300 && r <= 0x036f || r >= 0x05b0 && r <= 0x05c2 || r >= 0x0653 && r <= 0x0655 ||
		r >= 0x1100 && r <= 0x11ff || r == 0x3099 || r == 0x309a ||
		r >= 0xf900 && r <= 0xfaff || r >= 0xfb1d && r <= 0xfb4f || r >= 0x2f800 && r <= 0x2fa1f
}

// foldCase maps names that differ only in case to one text, by Unicode's simple
// folding: each letter becomes the least of its orbit.
func foldCase(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			least = min(least, other)
		}
		return least
	}, name)
}

// nameSet holds the names of a package and refuses those that a filesystem could
// not keep apart.
type nameSet struct {
	spelled map[string]string // folded name of a file or folder → its spelling
	file    map[string]bool   // spelling → it is a file
}

// newNameSet gives a set that holds the manifest, as every package does.
func newNameSet() *nameSet {
	return &nameSet{
		spelled: map[string]string{foldCase(ManifestName): ManifestName},
		file:    map[string]bool{ManifestName: true},
	}
}

// add takes the name of a file, or says why it cannot be in this package.
func (s *nameSet) add(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if file, ok := s.file[name]; ok {
		if file {
			return errors.New("the name is there twice")
		}
		return fmt.Errorf("%q is a file's name and a folder's", name)
	}
	for i := range len(name) + 1 {
		if i < len(name) && name[i] != '/' {
			continue
		}
		part := name[:i]
		if s.file[part] {
			return fmt.Errorf("%q is a file's name and a folder's", part)
		}
		folded := foldCase(part)
		if other, ok := s.spelled[folded]; ok && other != part {
			return fmt.Errorf("the name differs from %q only in case", other)
		}
		s.spelled[folded] = part
		s.file[part] = i == len(name)
	}
	return nil
}
