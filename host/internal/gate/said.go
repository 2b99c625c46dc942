package gate

import "os"

// A keeping writes to a file what a command writes. That the disk is full is the
// host's failure, not the command's: it learns nothing of it, and lost says why.
// Only one goroutine writes, which is gone when the command is.
type keeping struct {
	f    *os.File
	lost *error
}

// Write implements [io.Writer].
func (k *keeping) Write(p []byte) (int, error) {
	if *k.lost == nil {
		_, *k.lost = k.f.Write(p)
	}
	return len(p), nil
}

// A capture keeps what a command writes, to a bound.
type capture struct {
	data []byte
	most int
	cut  bool // there was more
}

// Write implements [io.Writer].
func (c *capture) Write(p []byte) (int, error) {
	keep := min(len(p), c.most-len(c.data))
	c.data = append(c.data, p[:keep]...)
	c.cut = c.cut || keep < len(p)
	return len(p), nil
}
