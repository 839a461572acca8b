package dispatch

import (
	"context"
	"errors"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/internal/fault"
	"github.com/cong1022/fieldsync/internal/faultwire"
)

// AssignTasks carries out many assignments, each as AssignTask and durable by itself. What is refused says why in its place;
// an error of the server's own ends the call, and a repeat of it finds what was done before.
func (s *Service) AssignTasks(ctx context.Context, request *fieldsyncv1.AssignTasksRequest) (*fieldsyncv1.AssignTasksResponse, error) {
	response := &fieldsyncv1.AssignTasksResponse{}
	for _, assignment := range request.GetAssignments() {
		assigned, err := s.AssignTask(ctx, assignment)
		result := &fieldsyncv1.AssignResult{Result: &fieldsyncv1.AssignResult_Task{Task: assigned.GetTask()}}
		if err != nil {
			refused, ok := errors.AsType[*fault.Error](err)
			if !ok || refused.Kind == fault.Unavailable {
				return nil, err
			}
			result.Result = &fieldsyncv1.AssignResult_Error{Error: faultwire.Info(refused)}
		}
		response.Results = append(response.Results, result)
	}
	return response, nil
}
