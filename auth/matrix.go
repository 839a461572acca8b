package auth

import (
	"context"
	"slices"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
	"github.com/cong1022/fieldsync/gen/fieldsync/v1/fieldsyncv1connect"
)

// public are the procedures that need no token: a device that has none yet, and what operators' tools ask.
var public = []string{
	fieldsyncv1connect.IdentityServiceEnrolProcedure,
	fieldsyncv1connect.IdentityServiceRefreshProcedure,
	"/grpc.health.v1.Health/Check",
	"/grpc.health.v1.Health/Watch",
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}

const (
	crew       = fieldsyncv1.Role_ROLE_CREW
	dispatcher = fieldsyncv1.Role_ROLE_DISPATCHER
	hotline    = fieldsyncv1.Role_ROLE_HOTLINE
	admin      = fieldsyncv1.Role_ROLE_ADMIN
)

// rights is the table: which roles may call a procedure at all. Whose tasks, crews and devices they reach with it is
// decided where these are loaded. What does not stand here is denied.
var rights = map[string][]fieldsyncv1.Role{
	fieldsyncv1connect.SyncServiceSyncProcedure:        {crew, dispatcher},
	fieldsyncv1connect.SyncServiceWatchProcedure:       {crew, dispatcher},
	fieldsyncv1connect.SyncServiceAwaitChangeProcedure: {crew, dispatcher},
	fieldsyncv1connect.SyncServiceRepairProcedure:      {crew, dispatcher},

	fieldsyncv1connect.SupportServiceExplainDeviceProcedure:      {dispatcher, admin},
	fieldsyncv1connect.SupportServiceListQuarantinedProcedure:    {dispatcher, admin},
	fieldsyncv1connect.SupportServiceReleaseQuarantinedProcedure: {dispatcher, admin},
	fieldsyncv1connect.SupportServiceDiscardQuarantinedProcedure: {dispatcher, admin},

	fieldsyncv1connect.MediaServiceDeclareProcedure: {crew},
	fieldsyncv1connect.MediaServiceCommitProcedure:  {crew},

	fieldsyncv1connect.DispatchServicePutUnitProcedure:     {admin},
	fieldsyncv1connect.DispatchServiceListUnitsProcedure:   {dispatcher, admin},
	fieldsyncv1connect.DispatchServicePutCrewProcedure:     {dispatcher, admin},
	fieldsyncv1connect.DispatchServiceListCrewsProcedure:   {dispatcher, admin},
	fieldsyncv1connect.DispatchServicePutMemberProcedure:   {dispatcher, admin},
	fieldsyncv1connect.DispatchServiceListMembersProcedure: {dispatcher, admin},
	fieldsyncv1connect.DispatchServiceListTicketsProcedure: {dispatcher, admin},
	fieldsyncv1connect.DispatchServiceCreateTaskProcedure:  {dispatcher, admin},
	fieldsyncv1connect.DispatchServiceListTasksProcedure:   {dispatcher, admin},
	fieldsyncv1connect.DispatchServiceGetTaskProcedure:     {dispatcher, admin},
	fieldsyncv1connect.DispatchServiceAssignTaskProcedure:  {dispatcher, admin},
	fieldsyncv1connect.DispatchServiceRecallTaskProcedure:  {dispatcher, admin},
	fieldsyncv1connect.DispatchServiceCancelTaskProcedure:  {dispatcher, admin},

	fieldsyncv1connect.AssignmentServiceSuggestCrewsProcedure:   {dispatcher, admin},
	fieldsyncv1connect.AssignmentServiceAssignTasksProcedure:    {dispatcher, admin},
	fieldsyncv1connect.AssignmentServiceListDeliveriesProcedure: {dispatcher, admin},

	fieldsyncv1connect.BoardServiceListBoardProcedure:        {dispatcher, admin},
	fieldsyncv1connect.BoardServiceWatchBoardProcedure:       {dispatcher, admin},
	fieldsyncv1connect.BoardServiceGetWorkloadProcedure:      {dispatcher, admin},
	fieldsyncv1connect.BoardServiceGetMonthlyReportProcedure: {dispatcher, admin},

	fieldsyncv1connect.HotlineServiceSubmitTicketsProcedure:          {hotline, admin},
	fieldsyncv1connect.HotlineServiceGetTicketStatusProcedure:        {hotline},
	fieldsyncv1connect.HotlineServiceListCompletionsProcedure:        {hotline},
	fieldsyncv1connect.HotlineServiceAcknowledgeCompletionsProcedure: {hotline},
	fieldsyncv1connect.HotlineServiceWatchCompletionsProcedure:       {hotline},
	fieldsyncv1connect.HotlineServiceListTicketChangesProcedure:      {hotline},
	fieldsyncv1connect.HotlineServicePutWebhookProcedure:             {admin},
	fieldsyncv1connect.HotlineServiceListWebhooksProcedure:           {hotline, admin},
	fieldsyncv1connect.HotlineServiceDeleteWebhookProcedure:          {admin},
	fieldsyncv1connect.HotlineServiceReplayWebhookProcedure:          {hotline, admin},

	fieldsyncv1connect.ProofServiceGetReceiptProcedure:    {crew, dispatcher, hotline, admin},
	fieldsyncv1connect.ProofServiceGetCheckpointProcedure: {crew, dispatcher, hotline, admin},
	fieldsyncv1connect.ProofServiceRotateLogKeyProcedure:  {admin},

	fieldsyncv1connect.IdentityServiceIssueCodeProcedure:    {dispatcher, admin},
	fieldsyncv1connect.IdentityServiceRevokeDeviceProcedure: {dispatcher, admin},
	fieldsyncv1connect.IdentityServiceListDevicesProcedure:  {dispatcher, admin},
	fieldsyncv1connect.IdentityServiceIssueApiKeyProcedure:  {admin},
	fieldsyncv1connect.IdentityServiceRegisterPushProcedure: {crew, dispatcher, hotline, admin},
	fieldsyncv1connect.IdentityServiceWhoAmIProcedure:       {crew, dispatcher, hotline, admin},
}

// IsPublic tells whether anybody may call the procedure, without a token.
func IsPublic(procedure string) bool { return slices.Contains(public, procedure) }

// Allowed tells whether a caller may call the procedure ("/fieldsync.v1.SyncService/Sync"); p is nil where nobody knows who
// calls. Unauthenticated "token_missing", PermissionDenied "role_denied". A procedure that nobody has thought of is denied.
func Allowed(procedure string, p *Principal) error {
	switch {
	case IsPublic(procedure):
		return nil
	case p == nil:
		return errTokenMissing()
	case !slices.Contains(rights[procedure], p.Role):
		return errRoleDenied()
	}
	return nil
}

// AllowedIn is Allowed for whoever the context of a request names.
func AllowedIn(ctx context.Context, procedure string) error {
	p, err := PrincipalFrom(ctx)
	if err != nil {
		return Allowed(procedure, nil)
	}
	return Allowed(procedure, &p)
}
