package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/AppsFlyer/kafka-mirror-tester/images/catalogue"
)

// choose returns the images to work on: those named in only, else all, else all that are not
// optional. upstreams replaces, by key, where an image is copied from.
func choose(only []string, all bool, upstreams map[string]string) ([]catalogue.Image, error) {
	images, keys := catalogue.All(), catalogue.Keys()
	for key, upstream := range upstreams {
		i := slices.Index(keys, key)
		switch {
		case i < 0:
			return nil, fmt.Errorf("--upstream %s=%s: there is no image %q: use one of %s", key, upstream, key, strings.Join(keys, ", "))
		case images[i].Upstream == "":
			return nil, fmt.Errorf("--upstream %s=%s: %s is built here, not copied", key, upstream, key)
		}
		images[i].Upstream = upstream
	}
	for _, key := range only {
		if !slices.Contains(keys, key) {
			return nil, fmt.Errorf("--only %s: there is no such image: use one of %s", key, strings.Join(keys, ", "))
		}
	}
	return slices.DeleteFunc(images, func(im catalogue.Image) bool {
		if len(only) > 0 {
			return !slices.Contains(only, im.Key)
		}
		_, named := upstreams[im.Key]
		return im.Optional && !all && !named
	}), nil
}
