package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// lifecycle removes what no tag holds (a push that was cut short) and old builds; 50 of them are
// kept, so that a stack that is up does not lose what it runs.
const lifecycle = `{"rules":[` +
	`{"rulePriority":1,"description":"pushes cut short","selection":{"tagStatus":"untagged","countType":"sinceImagePushed","countUnit":"days","countNumber":14},"action":{"type":"expire"}},` +
	`{"rulePriority":2,"description":"old builds","selection":{"tagStatus":"any","countType":"imageCountMoreThan","countNumber":50},"action":{"type":"expire"}}]}`

// permissions is what the caller needs on ECR; named in errors.
const permissions = "ecr:GetAuthorizationToken, DescribeRepositories, CreateRepository, TagResource, GetLifecyclePolicy, PutLifecyclePolicy, and the actions to push and pull"

// newECR logs in to the registry of the caller's account in a region.
func newECR(ctx context.Context, region, prefix string) (*registry, error) {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(region))
	if err != nil {
		return nil, fmt.Errorf("%s: read AWS's configuration: %w", region, err)
	}
	client := ecr.NewFromConfig(cfg)
	token, err := client.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		return nil, fmt.Errorf("%s: log in to ECR: %w\n(are there credentials, and have they not expired? `aws sts get-caller-identity` says; needed are %s)", region, err, permissions)
	}
	auth, err := authenticator(token.AuthorizationData)
	if err != nil {
		return nil, fmt.Errorf("%s: log in to ECR: %w", region, err)
	}
	return &registry{
		title: region,
		repository: func(ctx context.Context, suffix string, dry bool) (name.Repository, error) {
			uri, err := ensureRepository(ctx, client, prefix+"/"+suffix, dry)
			if err != nil {
				return name.Repository{}, fmt.Errorf("%s: ECR repository %s/%s: %w\n(needed are %s)", region, prefix, suffix, err, permissions)
			}
			if uri == "" { // dry, and not there
				uri = strings.TrimPrefix(aws.ToString(token.AuthorizationData[0].ProxyEndpoint), "https://") + "/" + prefix + "/" + suffix
			}
			return name.NewRepository(uri)
		},
		auth: remote.WithAuth(auth),
	}, nil
}

// authenticator decodes ECR's token: USER:PASSWORD in base64, valid for 12 hours.
func authenticator(data []types.AuthorizationData) (authn.Authenticator, error) {
	if len(data) == 0 {
		return nil, errors.New("ECR gave no token")
	}
	decoded, err := base64.StdEncoding.DecodeString(aws.ToString(data[0].AuthorizationToken))
	if err != nil {
		return nil, errors.New("ECR's token is not in base64")
	}
	user, password, found := strings.Cut(string(decoded), ":")
	if !found {
		return nil, errors.New("ECR's token is not USER:PASSWORD")
	}
	return &authn.Basic{Username: user, Password: password}, nil
}

// ensureRepository makes a repository where it is missing, and returns its address. One that exists
// keeps its settings. With dry it changes nothing, and returns an empty address if it is missing.
func ensureRepository(ctx context.Context, client *ecr.Client, repository string, dry bool) (string, error) {
	uri, err := describe(ctx, client, repository)
	if err != nil || dry {
		return uri, err
	}
	if uri == "" {
		created, err := client.CreateRepository(ctx, &ecr.CreateRepositoryInput{
			RepositoryName:             &repository,
			ImageTagMutability:         types.ImageTagMutabilityImmutable,
			ImageScanningConfiguration: &types.ImageScanningConfiguration{ScanOnPush: true},
			Tags:                       []types.Tag{{Key: aws.String("Project"), Value: aws.String("kafka-mirror-tester")}},
		})
		if err != nil {
			return "", fmt.Errorf("create it: %w", err)
		}
		uri = aws.ToString(created.Repository.RepositoryUri)
	}
	// An earlier run may have ended between the two.
	_, err = client.GetLifecyclePolicy(ctx, &ecr.GetLifecyclePolicyInput{RepositoryName: &repository})
	if missing := (*types.LifecyclePolicyNotFoundException)(nil); errors.As(err, &missing) {
		_, err = client.PutLifecyclePolicy(ctx, &ecr.PutLifecyclePolicyInput{RepositoryName: &repository, LifecyclePolicyText: aws.String(lifecycle)})
	}
	if err != nil {
		return "", fmt.Errorf("its lifecycle policy: %w", err)
	}
	return uri, nil
}

func describe(ctx context.Context, client *ecr.Client, repository string) (string, error) {
	found, err := client.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{repository}})
	if missing := (*types.RepositoryNotFoundException)(nil); errors.As(err, &missing) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for it: %w", err)
	}
	if len(found.Repositories) == 0 {
		return "", nil
	}
	return aws.ToString(found.Repositories[0].RepositoryUri), nil
}
