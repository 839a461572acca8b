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
	"/v1/sign-in", // It reads a token of the identity provider by itself.
}

// delivery is what a revoked device may call with a token for delivery only: what it sends is kept, and it reads nothing. Whoever has
// left the crews for another role may call it, too.
var delivery = []string{
	fieldsyncv1connect.SyncServiceSyncProcedure, // Which answers it with verdicts alone.
	fieldsyncv1connect.MediaServiceDeclareProcedure,
	fieldsyncv1connect.MediaServiceCommitProcedure,
	uploadsRoute,
}

const (
	crew       = fieldsyncv1.Role_ROLE_CREW
	lead       = fieldsyncv1.Role_ROLE_CREW_LEAD
	dispatcher = fieldsyncv1.Role_ROLE_DISPATCHER
	head       = fieldsyncv1.Role_ROLE_UNIT_HEAD
	supervisor = fieldsyncv1.Role_ROLE_CITY_SUPERVISOR
	hotline    = fieldsyncv1.Role_ROLE_HOTLINE
	admin      = fieldsyncv1.Role_ROLE_ADMIN
)

// rights is the table: which roles may call a procedure at all. Whose tasks, crews and devices they reach with it is
// decided where these are loaded. What does not stand here is denied.
//
// How to choose for a new procedure:
//   - what crews do on their phones: crew, lead; what only their lead may: lead
//   - what dispatchers read of their unit: dispatcher, head, supervisor, admin
//   - what they change in it: dispatcher, head, admin; the supervisor settles reviews and changes nothing else
//   - what takes a second person's word, such as an approval: head, admin
//   - what changes the city's set-up, keys or hooks: admin
//   - what the 1022 system does: hotline
//
// In the room, ask the Principal and never the role: InCrew, Dispatches (may change), SeesUnit (may read), LoadTask.
var rights = map[string][]fieldsyncv1.Role{
	fieldsyncv1connect.SyncServiceSyncProcedure:        {crew, lead, dispatcher, head, supervisor},
	fieldsyncv1connect.SyncServiceWatchProcedure:       {crew, lead, dispatcher, head, supervisor},
	fieldsyncv1connect.SyncServiceAwaitChangeProcedure: {crew, lead, dispatcher, head, supervisor},
	fieldsyncv1connect.SyncServiceRepairProcedure:      {crew, lead, dispatcher, head, supervisor},

	fieldsyncv1connect.SupportServiceExplainDeviceProcedure:      {dispatcher, head, supervisor, admin},
	fieldsyncv1connect.SupportServiceListQuarantinedProcedure:    {dispatcher, head, supervisor, admin},
	fieldsyncv1connect.SupportServiceReleaseQuarantinedProcedure: {dispatcher, head, admin},
	fieldsyncv1connect.SupportServiceDiscardQuarantinedProcedure: {dispatcher, head, admin},
	fieldsyncv1connect.SupportServiceListStuckDevicesProcedure:   {dispatcher, head, supervisor, admin},

	fieldsyncv1connect.MediaServiceDeclareProcedure: {crew, lead},
	fieldsyncv1connect.MediaServiceCommitProcedure:  {crew, lead},

	fieldsyncv1connect.HoldServicePutLegalHoldProcedure:   {dispatcher, head, admin},
	fieldsyncv1connect.HoldServiceLiftLegalHoldProcedure:  {dispatcher, head, admin},
	fieldsyncv1connect.HoldServiceListLegalHoldsProcedure: {dispatcher, head, supervisor, admin},

	fieldsyncv1connect.DispatchServicePutUnitProcedure:     {admin},
	fieldsyncv1connect.DispatchServiceListUnitsProcedure:   {dispatcher, head, supervisor, admin},
	fieldsyncv1connect.DispatchServicePutCrewProcedure:     {dispatcher, head, admin},
	fieldsyncv1connect.DispatchServiceListCrewsProcedure:   {dispatcher, head, supervisor, admin},
	fieldsyncv1connect.DispatchServicePutMemberProcedure:   {dispatcher, head, admin},
	fieldsyncv1connect.DispatchServiceListMembersProcedure: {dispatcher, head, supervisor, admin},
	fieldsyncv1connect.DispatchServiceListTicketsProcedure: {dispatcher, head, supervisor, admin},
	fieldsyncv1connect.DispatchServiceCreateTaskProcedure:  {dispatcher, head, admin},
	fieldsyncv1connect.DispatchServiceListTasksProcedure:   {dispatcher, head, supervisor, admin},
	fieldsyncv1connect.DispatchServiceGetTaskProcedure:     {dispatcher, head, supervisor, admin},
	fieldsyncv1connect.DispatchServiceAssignTaskProcedure:  {dispatcher, head, admin},
	fieldsyncv1connect.DispatchServiceRecallTaskProcedure:  {dispatcher, head, admin},
	fieldsyncv1connect.DispatchServiceCancelTaskProcedure:  {dispatcher, head, admin},
	fieldsyncv1connect.DispatchServiceReopenTaskProcedure:  {dispatcher, head, admin},

	fieldsyncv1connect.AssignmentServiceSuggestCrewsProcedure:   {dispatcher, head, supervisor, admin},
	fieldsyncv1connect.AssignmentServiceGetHintsProcedure:       {dispatcher, head, supervisor, admin},
	fieldsyncv1connect.AssignmentServiceAssignTasksProcedure:    {dispatcher, head, admin},
	fieldsyncv1connect.AssignmentServiceListDeliveriesProcedure: {dispatcher, head, supervisor, admin},

	fieldsyncv1connect.BoardServiceListBoardProcedure:        {dispatcher, head, supervisor, admin},
	fieldsyncv1connect.BoardServiceWatchBoardProcedure:       {dispatcher, head, supervisor, admin},
	fieldsyncv1connect.BoardServiceGetWorkloadProcedure:      {dispatcher, head, supervisor, admin},
	fieldsyncv1connect.BoardServiceGetMonthlyReportProcedure: {dispatcher, head, supervisor, admin},

	fieldsyncv1connect.ReviewServiceListReviewsProcedure:   {dispatcher, head, supervisor, admin},
	fieldsyncv1connect.ReviewServiceGetReviewProcedure:     {dispatcher, head, supervisor, admin},
	fieldsyncv1connect.ReviewServiceResolveReviewProcedure: {dispatcher, head, supervisor, admin},

	fieldsyncv1connect.CategoryServicePutCategoriesProcedure:  {admin},
	fieldsyncv1connect.CategoryServiceListCategoriesProcedure: {crew, lead, dispatcher, head, supervisor, hotline, admin},

	fieldsyncv1connect.DeadlineServicePutCalendarProcedure:     {admin},
	fieldsyncv1connect.DeadlineServiceGetCalendarProcedure:     {dispatcher, head, supervisor, admin},
	fieldsyncv1connect.DeadlineServiceExplainDeadlineProcedure: {dispatcher, head, supervisor, admin},
	fieldsyncv1connect.DeadlineServicePauseDeadlineProcedure:   {dispatcher, head, admin},
	fieldsyncv1connect.DeadlineServiceResumeDeadlineProcedure:  {dispatcher, head, admin},

	fieldsyncv1connect.TerritoryServicePutAreasProcedure:       {admin},
	fieldsyncv1connect.TerritoryServicePutSuccessionsProcedure: {admin},
	fieldsyncv1connect.TerritoryServiceRouteTicketProcedure:    {dispatcher, head, admin},
	fieldsyncv1connect.TerritoryServiceRerouteUnitProcedure:    {admin},

	fieldsyncv1connect.EscalationServiceGetEscalationProcedure: {dispatcher, head, supervisor, admin},

	fieldsyncv1connect.CrewServicePutCrewWorkProcedure: {dispatcher, head, admin},
	fieldsyncv1connect.CrewServiceGetCrewWorkProcedure: {dispatcher, head, supervisor, admin},

	fieldsyncv1connect.HotlineServiceSubmitTicketsProcedure:            {hotline, admin},
	fieldsyncv1connect.HotlineServiceGetTicketStatusProcedure:          {hotline},
	fieldsyncv1connect.HotlineServiceListCompletionsProcedure:          {hotline},
	fieldsyncv1connect.HotlineServiceAcknowledgeCompletionsProcedure:   {hotline},
	fieldsyncv1connect.HotlineServiceWatchCompletionsProcedure:         {hotline},
	fieldsyncv1connect.HotlineServiceListTicketChangesProcedure:        {hotline},
	fieldsyncv1connect.HotlineServiceWatchTicketChangesProcedure:       {hotline},
	fieldsyncv1connect.HotlineServiceAcknowledgeTicketChangesProcedure: {hotline},
	fieldsyncv1connect.HotlineServiceWithdrawTicketsProcedure:          {hotline, admin},
	fieldsyncv1connect.HotlineServiceListTicketStatesProcedure:         {hotline, admin},
	fieldsyncv1connect.HotlineServicePutWebhookProcedure:               {admin},
	fieldsyncv1connect.HotlineServiceListWebhooksProcedure:             {hotline, admin},
	fieldsyncv1connect.HotlineServiceDeleteWebhookProcedure:            {admin},
	fieldsyncv1connect.HotlineServiceReplayWebhookProcedure:            {hotline, admin},

	fieldsyncv1connect.ProofServiceGetReceiptProcedure:                   {crew, lead, dispatcher, head, supervisor, hotline, admin},
	fieldsyncv1connect.ProofServiceGetCheckpointProcedure:                {crew, lead, dispatcher, head, supervisor, hotline, admin},
	fieldsyncv1connect.FalseReportServiceGetDossierProcedure:             {dispatcher, head, supervisor, admin},
	fieldsyncv1connect.FalseReportServiceConfirmFalseReportProcedure:     {dispatcher, head, admin},
	fieldsyncv1connect.FalseReportServiceReverseFalseReportProcedure:     {dispatcher, head, admin},
	fieldsyncv1connect.FalseReportServiceExportFalseReportProcedure:      {dispatcher, head, admin},
	fieldsyncv1connect.FalseReportServiceListFalseReportFiguresProcedure: {dispatcher, head, supervisor, admin},

	fieldsyncv1connect.ProofServiceRotateLogKeyProcedure:   {admin},
	fieldsyncv1connect.ProofServiceAddCosignatureProcedure: {hotline, admin},

	fieldsyncv1connect.AuditServiceListAuditEntriesProcedure: {supervisor, admin},

	fieldsyncv1connect.PrivacyServiceExportCitizenProcedure: {admin},
	fieldsyncv1connect.PrivacyServiceEraseCitizenProcedure:  {admin},

	fieldsyncv1connect.OperationsServiceGetStatusProcedure: {admin},
	fieldsyncv1connect.OperationsServiceCheckNowProcedure:  {admin},
	fieldsyncv1connect.OperationsServiceBackUpNowProcedure: {admin},

	fieldsyncv1connect.IdentityServiceIssueCodeProcedure:      {dispatcher, head, admin},
	fieldsyncv1connect.IdentityServiceRevokeDeviceProcedure:   {lead, dispatcher, head, admin},
	fieldsyncv1connect.IdentityServiceListDevicesProcedure:    {lead, dispatcher, head, supervisor, admin},
	fieldsyncv1connect.IdentityServiceIssueApiKeyProcedure:    {admin},
	fieldsyncv1connect.IdentityServiceRegisterClientProcedure: {admin},
	fieldsyncv1connect.IdentityServiceListTokenKeysProcedure:  {supervisor, admin},
	fieldsyncv1connect.IdentityServiceRotateTokenKeyProcedure: {admin},
	fieldsyncv1connect.IdentityServiceRegisterPushProcedure:   {crew, lead, dispatcher, head, supervisor, hotline, admin},
	fieldsyncv1connect.IdentityServiceWhoAmIProcedure:         {crew, lead, dispatcher, head, supervisor, hotline, admin},
}

// IsPublic tells whether anybody may call the procedure, without a token.
func IsPublic(procedure string) bool { return slices.Contains(public, procedure) }

// Allowed tells whether a caller may call the procedure ("/fieldsync.v1.SyncService/Sync"); p is nil where nobody knows who
// calls. Unauthenticated "token_missing", "device_revoked", Denied "role_denied". A procedure that nobody has thought of is denied.
func Allowed(procedure string, p *Principal) error {
	switch {
	case IsPublic(procedure):
		return nil
	case p == nil:
		return errTokenMissing()
	default:
		return p.reaches(procedure, rights[procedure])
	}
}

// reaches tells whether a row of the table lets the principal call.
func (p Principal) reaches(what string, roles []fieldsyncv1.Role) error {
	switch delivers := slices.Contains(delivery, what); {
	case p.Delivering && !delivers:
		return errDeviceRevoked()
	case p.Delivering, p.LeftCrews && delivers, slices.Contains(roles, p.Role):
		return nil
	default:
		return errRoleDenied()
	}
}

// AllowedIn is Allowed for whoever the context of a request names.
func AllowedIn(ctx context.Context, procedure string) error {
	p, err := PrincipalFrom(ctx)
	if err != nil {
		return Allowed(procedure, nil)
	}
	return Allowed(procedure, &p)
}
