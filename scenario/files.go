package scenario

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// writeWith writes a file whole or not at all.
func writeWith(path string, content func(io.Writer) error) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write %s: %w", path, err)
		}
	}()
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // it is gone if all went well
	if err := errors.Join(content(file), file.Chmod(0o644), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

func writeFile(path string, text []byte) error {
	return writeWith(path, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}

func writeJSON(path string, v any) error {
	return writeWith(path, func(w io.Writer) error {
		out := json.NewEncoder(w)
		out.SetIndent("", " ")
		return out.Encode(v)
	})
}

// What a configuration file or a log may have that nobody else should see.
var (
	secretValue = regexp.MustCompile(`(?im)^(.*?(?:password|passwd|secret|token|authorization|sasl\.jaas\.config|ssl\.keystore\.key)[^=:\n]*[=:][ \t]*)\S.*$`)
	secretKey   = regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)`)
)

// Removed stands in evidence where a secret was.
const Removed = "(removed)"

// redact takes passwords and private keys out of the files below dir. A target should leave none there in
// the first place.
func redact(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		clean := secretKey.ReplaceAllLiteral(text, []byte(Removed))
		clean = secretValue.ReplaceAll(clean, []byte("${1}"+Removed))
		if bytes.Equal(clean, text) {
			return nil
		}
		return writeFile(path, clean)
	})
}
