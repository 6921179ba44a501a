package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// registry is where the nodes of some stacks pull images from.
type registry struct {
	stacks []string
	title  string // for messages: a region, or the registry's name
	// repository returns the repository of an image, and makes it where it is missing unless dry.
	repository func(ctx context.Context, name string, dry bool) (name.Repository, error)
	auth       remote.Option
}

// resolve finds what an upstream's tag stands for: the image for the platform. Of a reference to
// several platforms only that one is copied, so its digest is the platform's, not the list's.
func resolve(ctx context.Context, upstream string, platform v1.Platform, auth remote.Option) (v1.Image, error) {
	ref, err := name.ParseReference(upstream)
	if err != nil {
		return nil, fmt.Errorf("upstream %q is no reference, such as docker.io/apache/kafka:3.9.2: %w", upstream, err)
	}
	img, err := remote.Image(ref, auth, remote.WithContext(ctx), remote.WithPlatform(platform))
	if err != nil {
		return nil, fmt.Errorf("%w\n(another source of the image can be named by --upstream)", explain("read "+upstream, ref.Context(), err))
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, explain("read the configuration of "+upstream, ref.Context(), err)
	}
	if config.OS != platform.OS || config.Architecture != platform.Architecture {
		return nil, fmt.Errorf("%s is for %s/%s, not for %s: give one for it by --upstream", upstream, config.OS, config.Architecture, platform.String())
	}
	return img, nil
}

// tag names an image in its repository by its digest, since tags there cannot be changed and an
// upstream's can: hint is the upstream's tag, or what else tells a human what it is.
func tag(hint string, digest v1.Hash) string {
	hint = strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' || r == '_' {
			return r
		}
		return '-'
	}, hint), ".-")
	short := digest.Hex[:12]
	if hint == "" {
		return short
	}
	return hint[:min(len(hint), 100)] + "-" + short // a tag has at most 128 characters
}

// hint is the tag of an upstream's reference.
func hint(upstream string) string {
	ref, err := name.ParseReference(upstream)
	if err != nil {
		return ""
	}
	if t, ok := ref.(name.Tag); ok {
		return t.TagStr()
	}
	return ""
}

// copyTo brings img into repo, where it is not there yet, and verifies that it is there. It returns
// the reference by digest. Layers that an interrupted copy has brought over are not sent again.
func copyTo(ctx context.Context, img v1.Image, repo name.Repository, tag string, auth remote.Option, dry bool, progress io.Writer) (string, error) {
	digest, err := img.Digest()
	if err != nil {
		return "", fmt.Errorf("digest: %w", err)
	}
	ref := repo.Digest(digest.String())
	found, err := exists(ctx, ref, auth)
	switch {
	case err != nil:
		return "", explain("look for "+ref.String(), repo, err)
	case found:
		fmt.Fprintln(progress, "is there")
		return ref.String(), nil
	case dry:
		fmt.Fprintln(progress, "would be copied")
		return ref.String(), nil
	}
	size, err := compressedSize(img)
	if err != nil {
		return "", fmt.Errorf("size: %w", err)
	}
	fmt.Fprintf(progress, "copying %s …\n", megabytes(size))
	began := time.Now()
	updates, done := make(chan v1.Update, 16), make(chan struct{})
	go func() {
		defer close(done)
		report(updates, progress)
	}()
	err = remote.Write(repo.Tag(tag), img, auth, remote.WithContext(ctx), remote.WithProgress(updates))
	<-done // Write closes updates
	if err != nil {
		return "", explain("copy to "+repo.String(), repo, err)
	}
	// The library compares what it reads by digest with the digest.
	if _, err := remote.Get(ref, auth, remote.WithContext(ctx)); err != nil {
		return "", explain("verify "+ref.String()+" after it was copied", repo, err)
	}
	fmt.Fprintf(progress, "copied in %s\n", time.Since(began).Round(time.Second))
	return ref.String(), nil
}

// every is how often a long copy says how far it is.
const every = 15 * time.Second

func report(updates <-chan v1.Update, progress io.Writer) {
	next := time.Now().Add(every)
	for u := range updates {
		if u.Error == nil && u.Total > 0 && time.Now().After(next) {
			fmt.Fprintf(progress, "%d%% of %s …\n", 100*u.Complete/u.Total, megabytes(u.Total))
			next = time.Now().Add(every)
		}
	}
}

func exists(ctx context.Context, ref name.Digest, auth remote.Option) (bool, error) {
	_, err := remote.Head(ref, auth, remote.WithContext(ctx))
	if answer := (*transport.Error)(nil); errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return false, nil
	}
	return err == nil, err
}

// compressedSize is the size of all layers as they are sent, bytes.
func compressedSize(img v1.Image) (int64, error) {
	manifest, err := img.Manifest()
	if err != nil {
		return 0, err
	}
	size := manifest.Config.Size
	for _, layer := range manifest.Layers {
		size += layer.Size
	}
	return size, nil
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

// explain adds to a registry's error what was done and what to do about it.
func explain(what string, repo name.Repository, err error) error {
	host := repo.RegistryStr()
	var advice string
	var answer *transport.Error
	switch {
	case errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden):
		advice = fmt.Sprintf("the registry %s refuses: if the name is right, log in by `docker login %s`", host, host)
	case errors.As(err, &answer) && answer.StatusCode == http.StatusTooManyRequests:
		advice = fmt.Sprintf("the registry %s limits downloads: log in by `docker login %s`, or try again later", host, host)
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		advice = fmt.Sprintf("the registry %s does not have it", host)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%s: stopped; what was copied is kept", what)
	case errors.As(err, &answer):
		advice = fmt.Sprintf("the registry %s answered this; run again, what was copied is kept", host)
	default:
		advice = fmt.Sprintf("is the registry %s reachable from here? Run again, what was copied is kept", host)
	}
	return fmt.Errorf("%s: %w\n(%s)", what, err, advice)
}
