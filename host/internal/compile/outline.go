package compile

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
)

// Sections of a module by their number.
// https://webassembly.github.io/spec/core/binary/modules.html#sections
const (
	sectionCustom    = 0
	sectionMemory    = 5
	sectionCode      = 10
	sectionData      = 11
	sectionDataCount = 12
)

// outlineName is the custom section that tells the outlines of two modules apart
// which differ in nothing but code.
const outlineName = "agenthost.outline"

// trapBody is a function that fits every type and traps where it is called.
var trapBody = []byte{3, 0, 0x00, 0x0b} // its size; no locals; unreachable; end

var errOutline = errors.New("the metered module is not one")

// outlineOf returns the module without its code: all that it declares and holds,
// with functions that only trap, and with the digest of the whole.
//
// To load native code the engine wants a module, which it decodes and validates
// byte for byte, and under whose digest it looks the native code up. Nearly all
// of that time goes into the bodies of functions, of which nothing is needed any
// more once they were compiled. So what the host loads is the outline, and the
// native code of the whole module is filed under its name. The whole module was
// validated twice by the child that compiled it, and the folder is trusted with
// native code as it is.
//
// This rests on wazero taking native code from its cache by the module's digest
// and the processor alone, which tests hold. If ever it compiled an outline, the
// guest would trap at its first instruction.
func outlineOf(metered []byte) ([]byte, error) {
	const header = 8
	if len(metered) < header {
		return nil, errOutline
	}
	out := append([]byte{}, metered[:header]...)
	var memory, counted bool
	for rest := metered[header:]; len(rest) > 0; {
		id := rest[0]
		size, n := binary.Uvarint(rest[1:])
		if n <= 0 || size > uint64(len(rest)-1-n) {
			return nil, errOutline
		}
		whole := 1 + n + int(size)
		content := rest[1+n : whole]
		switch id {
		case sectionCustom: // names, of which nothing is shown
		case sectionCode:
			count, n := binary.Uvarint(content)
			if n <= 0 || count > size {
				return nil, errOutline
			}
			body := binary.AppendUvarint(nil, count)
			for range count {
				body = append(body, trapBody...)
			}
			out = appendSection(out, sectionCode, body)
		case sectionData:
			if memory && !counted {
				content = mergeData(content)
			}
			out = appendSection(out, sectionData, content)
		default:
			memory = memory || id == sectionMemory
			counted = counted || id == sectionDataCount
			out = append(out, rest[:whole]...)
		}
		rest = rest[whole:]
	}
	sum := sha256.Sum256(metered)
	named := append(binary.AppendUvarint(nil, uint64(len(outlineName))), outlineName...)
	return appendSection(out, sectionCustom, append(named, sum[:]...)), nil
}

func appendSection(out []byte, id byte, content []byte) []byte {
	out = binary.AppendUvarint(append(out, id), uint64(len(content)))
	return append(out, content...)
}
