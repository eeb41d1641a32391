// Command ask streams one answer from a gateway to standard output and the route it took to
// standard error. It uses nothing but the stubs that `make stubs LANG=go` writes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "llmrouter/gen/llmrouterv1"
)

func main() {
	address := flag.String("address", "localhost:50051", "host:port of the gateway")
	model := flag.String("model", "", "ask this model instead of the best")
	temperature := flag.Float64("temperature", 1, "0 (repeatable, cached) to 2")
	timeout := flag.Duration("timeout", time.Minute, "longest wait for the whole answer")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: ask [flags] QUESTION")
		os.Exit(2)
	}
	interrupted, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(interrupted, *timeout)
	defer cancel()
	if err := ask(ctx, *address, question(flag.Arg(0), *model, *temperature)); err != nil {
		fmt.Fprintln(os.Stderr, "error:", describe(err))
		os.Exit(1)
	}
}

// question returns a request with one turn of the user.
func question(text, model string, temperature float64) *pb.GenerateRequest {
	return &pb.GenerateRequest{
		Input: &pb.GenerateRequest_Chat{Chat: &pb.Chat{Messages: []*pb.Message{{
			Role:    pb.Role_ROLE_USER,
			Content: []*pb.ContentPart{{Kind: &pb.ContentPart_Text{Text: text}}},
		}}}},
		Sampling: &pb.SamplingOptions{Temperature: &temperature},
		Routing:  &pb.RoutingWishes{Model: model},
	}
}

// ask streams the answer; cancelling ctx stops the generation.
func ask(ctx context.Context, address string, request *pb.GenerateRequest) error {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	stream, err := pb.NewGatewayServiceClient(connection).StreamGenerate(
		ctx, &pb.StreamGenerateRequest{Request: request})
	if err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		show(response.GetEvent())
	}
}

// show writes one event; kinds it does not know are ignored.
func show(event *pb.GenerationEvent) {
	switch kind := event.GetEvent().(type) {
	case *pb.GenerationEvent_Started:
		cache := strings.ToLower(strings.TrimPrefix(kind.Started.Cache.String(), "CACHE_STATUS_"))
		fmt.Fprintf(os.Stderr, "%s: %s (cache: %s)\n", kind.Started.Model, kind.Started.Reason, cache)
	case *pb.GenerationEvent_Delta:
		fmt.Print(kind.Delta.Text)
	case *pb.GenerationEvent_Finished:
		fmt.Println()
		fmt.Fprintf(os.Stderr, "%d tokens in %s\n", kind.Finished.GetUsage().GetCompletionTokens(),
			kind.Finished.GetTimings().GetTotal().AsDuration().Round(time.Millisecond))
	}
}

// describe returns the sentence of a failure with its machine-readable reason.
func describe(err error) string {
	failed := status.Convert(err)
	for _, detail := range failed.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return fmt.Sprintf("%s (%s)", failed.Message(), info.Reason)
		}
	}
	return failed.Message()
}
