// Command wharfie asks k3s' own reader of registries.yaml where an image is, and pulls it from there, for tests.
//
//	wharfie FILE REFERENCE
//
// Prints the digest of the image for this platform.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/rancher/wharfie/pkg/registries"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "wharfie:", err)
		os.Exit(1)
	}
}

func run(words []string) error {
	if len(words) != 2 {
		return errors.New("usage: wharfie FILE REFERENCE")
	}
	settings, err := registries.GetPrivateRegistries(words[0])
	if err != nil {
		return err
	}
	reference, err := name.ParseReference(words[1])
	if err != nil {
		return err
	}
	image, err := settings.Image(reference)
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	fmt.Println(digest)
	return nil
}
