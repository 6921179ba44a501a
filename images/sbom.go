package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"path"
	"strings"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
)

// sbomPath is where the image says what it is made of, in a place where scanners look.
const sbomPath = "usr/share/sbom/loadgen.cdx.json"

// sbom says what the load generator is made of, as CycloneDX JSON: the modules that the linker put into the binary,
// with the sums of go.sum, Go's own library, and the agent. The same binary gives the same text: it has no time and
// no serial number.
func sbom(binary io.ReaderAt, version string, agents ...agent) ([]byte, error) {
	info, err := buildinfo.Read(binary)
	if err != nil {
		return nil, fmt.Errorf("what the binary is made of: %w", err)
	}
	platform := map[string]string{}
	for _, s := range info.Settings {
		platform[s.Key] = s.Value
	}
	main := cyclonedx.Component{
		BOMRef: "loadgen", Type: cyclonedx.ComponentTypeApplication, Name: "loadgen", Version: version,
		PackageURL: "pkg:golang/" + info.Main.Path + "@" + version,
	}
	components := []cyclonedx.Component{{
		BOMRef: "stdlib", Type: cyclonedx.ComponentTypeLibrary, Name: "stdlib", Version: info.GoVersion,
		PackageURL: "pkg:golang/stdlib@" + strings.TrimPrefix(info.GoVersion, "go"),
	}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		url := "pkg:golang/" + m.Path + "@" + m.Version
		c := cyclonedx.Component{BOMRef: url, Type: cyclonedx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: url}
		// h1: is a SHA-256, of the module's files and their sums.
		if sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:")); err == nil && len(sum) > 0 {
			c.Hashes = &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}}
		}
		components = append(components, c)
	}
	for _, a := range agents {
		name, version, ok := strings.Cut(strings.TrimSuffix(path.Base(a.URL), ".jar"), "-")
		if !ok {
			return nil, fmt.Errorf("what the image is made of: the agent's address %q ends in no NAME-VERSION.jar", a.URL)
		}
		url := "pkg:maven/io.prometheus.jmx/" + name + "@" + version
		components = append(components, cyclonedx.Component{
			BOMRef: url, Type: cyclonedx.ComponentTypeLibrary, Group: "io.prometheus.jmx", Name: name, Version: version, PackageURL: url,
			Hashes: &[]cyclonedx.Hash{{Algorithm: cyclonedx.HashAlgoSHA256, Value: a.SHA256}},
		})
	}
	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{Component: &main, Properties: &[]cyclonedx.Property{
		{Name: "cdx:gomod:build:env:GOOS", Value: platform["GOOS"]}, {Name: "cdx:gomod:build:env:GOARCH", Value: platform["GOARCH"]},
	}}
	bom.Components = &components
	var refs []string
	for _, c := range components {
		refs = append(refs, c.BOMRef)
	}
	bom.Dependencies = &[]cyclonedx.Dependency{{Ref: main.BOMRef, Dependencies: &refs}}
	var text bytes.Buffer
	encoder := cyclonedx.NewBOMEncoder(&text, cyclonedx.BOMFileFormatJSON)
	encoder.SetPretty(true)
	encoder.SetEscapeHTML(false)
	if err := encoder.EncodeVersion(bom, cyclonedx.SpecVersion1_5); err != nil {
		return nil, fmt.Errorf("write what the image is made of: %w", err)
	}
	return text.Bytes(), nil
}
