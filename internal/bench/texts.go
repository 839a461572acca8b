package bench

import (
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	fieldsyncv1 "github.com/cong1022/fieldsync/gen/fieldsync/v1"
)

// kind is a kind of report with the checklist that its tasks have.
type kind struct {
	category, title, procedure string
	seen                       []string
	checklist                  [][3]string // Id, Vietnamese, English.
}

// Reports as citizens write them: a sentence of what, one of how bad, one of since when, one of what they want. People and
// numbers are invented, and no two tasks are the same. What of a task does not compress is less its words than what
// tells it from others: ids, position, times, names and numbers.
var (
	kinds = []kind{
		{"fallen-tree", "Cây ngã đổ chắn đường", "Quy trình: chặn hai đầu, hỏi điện lực về dây rồi mới cưa, cưa từ ngọn vào gốc, không để cành trên vỉa hè qua đêm.", []string{
			"Cây me tây lớn bật gốc sau cơn mưa chiều, thân cây nằm ngang chắn hết một nửa lòng đường.",
			"Nhánh cây dầu gãy đè lên dây điện thoại, dây trĩu xuống ngang tầm đầu người đi xe máy.",
		}, [][3]string{
			{"fence", "Đặt rào và biển cảnh báo hai đầu", "Fence off both ends and put up signs"},
			{"cut", "Cưa, thu gom thân và cành", "Cut up and collect trunk and branches"},
			{"wires", "Kiểm tra dây điện, dây viễn thông bị vướng", "Check power and telecom lines"},
			{"clear", "Quét dọn, trả lại mặt đường", "Sweep and reopen the road"},
		}},
		{"flooding", "Ngập nước sau mưa", "Quy trình: đo mực nước, vớt rác ở miệng thu, đặt bơm nếu sau một giờ nước chưa rút, báo số đo lên tổng đài.", []string{
			"Nước ngập quá nửa bánh xe máy suốt đoạn hẻm, nhiều xe chết máy phải dắt bộ.",
			"Miệng cống bị rác và lá cây bịt kín, nước không thoát được tràn vào nhà dân hai bên.",
		}, [][3]string{
			{"inlet", "Vớt rác, khơi thông miệng thu nước", "Clear the inlets"},
			{"pump", "Đặt máy bơm nếu nước chưa rút", "Set up a pump if the water stays"},
			{"gauge", "Đo độ sâu, chụp ảnh mực nước", "Measure and photograph the level"},
			{"drain", "Kiểm tra cống phía hạ lưu", "Check the drain downstream"},
		}},
		{"manhole", "Nắp cống hư, mất nắp", "Quy trình: rào kín bốn phía, đặt đèn chớp trước khi trời tối, đo nắp và khung, thay trong ngày nếu kho còn.", []string{
			"Nắp hố ga vỡ một góc, bánh xe đạp của học sinh đã lọt xuống hai lần trong tuần.",
			"Nắp cống bị mất, người dân cắm tạm cành cây và thùng xốp để báo hiệu.",
		}, [][3]string{
			{"fence", "Rào chắn, đặt đèn chớp ban đêm", "Fence off and place a flashing light"},
			{"measure", "Đo kích thước nắp và khung", "Measure cover and frame"},
			{"replace", "Thay nắp, chèn khung cho bằng mặt đường", "Replace the cover, level the frame"},
		}},
		{"street-light", "Đèn đường không sáng", "Quy trình: cắt điện tại tủ, thử rò trước khi chạm trụ, thay bóng, đóng và khóa cửa trụ, ghi số trụ vào ghi chú.", []string{
			"Cả dãy mười hai trụ đèn tắt từ đầu hẻm đến cuối hẻm, buổi tối rất tối và có người bị giật túi.",
			"Đèn chớp tắt liên tục chiếu thẳng vào phòng ngủ tầng hai, người già không ngủ được.",
		}, [][3]string{
			{"power", "Cắt điện, kiểm tra rò", "Switch off and test for leakage"},
			{"lamp", "Thay bóng hoặc bộ nguồn", "Replace lamp or driver"},
			{"door", "Đóng, khóa cửa trụ", "Close and lock the pole's door"},
		}},
		{"pavement", "Vỉa hè bị lấn chiếm, hư hỏng", "Quy trình: chụp ảnh hiện trạng, lập biên bản với chủ vật cản, di dời, lát lại gạch hư, dọn sạch xà bần.", []string{
			"Quán ăn bày bàn ghế kín vỉa hè từ chiều tới khuya, người đi bộ và xe lăn phải xuống lòng đường.",
			"Gạch vỉa hè bong từng mảng sau khi đào đặt ống, trời mưa giẫm lên nước bắn tung tóe.",
		}, [][3]string{
			{"record", "Lập biên bản hiện trường", "Record the site"},
			{"remove", "Di dời vật cản", "Remove what is in the way"},
			{"repair", "Lát lại gạch hư", "Relay broken tiles"},
		}},
		{"traffic-light", "Đèn tín hiệu giao thông hỏng", "Quy trình: báo cảnh sát giao thông, kiểm tra tủ điều khiển trước, thay mô-đun, chạy thử đủ ba chu kỳ rồi mới rời đi.", []string{
			"Đèn đỏ hướng ra cầu không sáng, xe hai chiều cùng chạy và giờ cao điểm kẹt cứng.",
			"Đồng hồ đếm lùi nhảy loạn, còn mười giây thì chuyển sang đỏ ngay làm xe thắng gấp.",
		}, [][3]string{
			{"police", "Báo cảnh sát giao thông điều tiết", "Have the traffic police direct"},
			{"cabinet", "Kiểm tra tủ điều khiển", "Check the controller"},
			{"lamp", "Thay mô-đun đèn", "Replace the lamp module"},
			{"test", "Chạy thử đủ ba chu kỳ", "Watch three full cycles"},
		}},
		{"noise", "Tiếng ồn kéo dài", "Quy trình: đo tại nhà người báo và trước cơ sở, ghi giờ, làm việc với chủ, hẹn ngày đo lại, không nêu tên người báo.", []string{
			"Quán nhậu mở loa kéo hết cỡ đến quá nửa đêm, cửa kính nhà bên cạnh rung lên.",
			"Công trình đóng cọc cả buổi trưa lẫn chủ nhật, không treo giấy phép và không có tường chắn.",
		}, [][3]string{
			{"meter", "Đo mức ồn, ghi thời điểm", "Measure the level, note the time"},
			{"owner", "Làm việc với chủ cơ sở", "Speak with the owner"},
			{"follow", "Hẹn kiểm tra lại", "Set a date to check again"},
		}},
		{"pothole", "Ổ gà, lún sụt mặt đường", "Quy trình: rào và phân luồng, dò rỗng bên dưới trước khi vá, vá nhựa nguội khi trời mưa, đầm chặt, quét đá dăm.", []string{
			"Ổ gà rộng cỡ mặt bàn ngay khúc cua, tối qua có một cặp vợ chồng té xe phải đi cấp cứu.",
			"Mặt đường sụt thành hố sâu cạnh nắp cống, phía dưới rỗng và nghe tiếng nước chảy.",
		}, [][3]string{
			{"fence", "Rào chắn, phân luồng", "Fence off, divert traffic"},
			{"probe", "Dò rỗng phía dưới", "Probe for hollows"},
			{"fill", "Vá nhựa, đầm chặt", "Patch and compact"},
		}},
		{"dead-animal", "Rác thải, xác súc vật", "Quy trình: mang găng và khẩu trang, thu gom vào bao kín, phun rửa khử mùi, đặt biển cấm đổ rác nơi hay tái diễn.", []string{
			"Rác sinh hoạt ùn ứ ba ngày chưa thu gom, nước rỉ chảy thành vệt dài ra đường lớn.",
			"Có xác chó nằm dưới chân cầu, bốc mùi nặng, gần trường mầm non.",
		}, [][3]string{
			{"collect", "Thu gom, vận chuyển", "Collect and take away"},
			{"wash", "Phun rửa, khử mùi", "Wash down and deodorize"},
			{"sign", "Đặt biển cấm đổ rác", "Put up a no-dumping sign"},
		}},
		{"water-leak", "Bể ống nước, mất nước", "Quy trình: khóa van khu vực, báo các hộ bị mất nước, đào tìm điểm bể, thay đoạn ống, xả cặn đến khi nước trong.", []string{
			"Ống nước ngầm bể, nước phun cao cả mét giữa đường và áp lực trong nhà gần như bằng không.",
			"Đồng hồ nước trước nhà rò rỉ từ tuần trước, vũng nước đọng đầy lăng quăng.",
		}, [][3]string{
			{"valve", "Khóa van khu vực", "Close the area's valve"},
			{"dig", "Đào, xác định điểm bể", "Dig and find the break"},
			{"fix", "Thay đoạn ống", "Replace the pipe"},
			{"flush", "Xả cặn, kiểm tra nước trong", "Flush and check the water"},
		}},
	}
	degrees = []string{
		"Xe buýt phải lấn làn ngược chiều mới qua được.", "Hai chiều kẹt kéo dài tới tận ngã tư kế bên.",
		"Bà con đã tự lấy dây và chai nhựa chăng tạm cho người đi đường thấy.", "Ban đêm không có đèn nên càng nguy hiểm.",
		"Hôm qua một cụ già đã vấp ngã, may là chỉ trầy tay.", "Xe cứu thương sáng nay phải quay đầu tìm đường khác.",
		"Trẻ em đi học về ngang đây đều phải có người lớn dắt.", "Nhà đối diện có người bệnh nằm một chỗ, rất khó xoay xở.",
		"Tổ trưởng dân phố đã xuống xem và cũng chưa có cách.", "Khách đến cửa hàng phải để xe tận đầu đường.",
		"Mùi và bụi bay vào tận bếp các nhà phía trong.", "Chuyện này lặp lại mỗi khi trời mưa lớn hay triều lên.",
		"Phía bên kia đường là trạm y tế nên người qua lại rất đông.", "Đã có hai vụ va quẹt nhẹ trong ngày.",
		"Tài xế công nghệ từ chối chạy vào hẻm này.", "Camera của nhà dân có ghi lại được, cần thì tôi gửi.",
	}
	sinces = []string{
		"Tình trạng có từ khoảng sáu giờ sáng nay.", "Việc kéo dài hơn một tuần rồi mà chưa ai tới.",
		"Mới xảy ra cách đây chừng nửa tiếng.", "Từ tối thứ bảy đến giờ vẫn y nguyên.",
		"Tôi đã gọi một lần hôm trước, được hẹn hai ngày.", "Sau trận mưa chiều qua thì thành ra như vậy.",
		"Cứ khoảng mười giờ đêm là bắt đầu.", "Từ hôm bên viễn thông đào đường đến nay.",
		"Năm nào vào mùa này cũng bị.", "Khoảng ba hôm nay thì nặng hẳn.",
	}
	wishes = []string{
		"Mong tổng đài cho người xuống sớm.", "Nhờ báo lại cho tôi biết khi nào xử lý.", "Xin đừng để công văn qua lại nữa.",
		"Cảm ơn anh chị trực tổng đài.", "Nếu cần chỉ đường thì gọi tôi, tôi ở nhà cả ngày.",
		"Đề nghị xử lý dứt điểm chứ không vá tạm.", "Tôi có gửi kèm hai tấm hình.", "Xin giữ kín số điện thoại của tôi.",
	}
	orders = []string{
		"Ưu tiên thông đường trước, dọn sau.", "Mang theo máy cưa và áo phản quang.", "Gọi người báo trước khi đến mười phút.",
		"Chụp ảnh trước và sau, thấy rõ số nhà.", "Phối hợp công an phường nếu phải chặn đường.", "Xong trước giờ tan tầm.",
		"Kiểm tra luôn đoạn kế bên.", "Nếu thiếu vật tư thì báo ngay để chuyển đội khác.",
	}
	streets = []string{
		"Nơ Trang Long", "Lý Thái Tổ", "Nguyễn Đình Chiểu", "Phan Xích Long", "Tôn Đản", "Bến Vân Đồn", "Cách Mạng Tháng Tám",
		"Lê Văn Sỹ", "Hoàng Văn Thụ", "Xô Viết Nghệ Tĩnh", "Điện Biên Phủ", "Nguyễn Trãi", "An Dương Vương", "Hậu Giang",
		"Kinh Dương Vương", "Quang Trung", "Lê Đức Thọ", "Phạm Văn Đồng", "Kha Vạn Cân", "Võ Văn Ngân", "Tô Ngọc Vân",
		"Huỳnh Tấn Phát", "Nguyễn Thị Thập", "Lê Văn Lương", "Phạm Thế Hiển", "Âu Cơ", "Lũy Bán Bích", "Tân Kỳ Tân Quý",
		"Trường Chinh", "Cộng Hòa", "Bạch Đằng", "Đinh Tiên Hoàng", "Hai Bà Trưng", "Võ Thị Sáu", "Pasteur", "Calmette",
	}
	wards = []string{
		"Bình Thạnh", "Gia Định", "Bình Lợi Trung", "Thạnh Mỹ Tây", "Tân Định", "Sài Gòn", "Bến Thành", "Cầu Ông Lãnh", "Bàn Cờ",
		"Xuân Hòa", "Nhiêu Lộc", "Xóm Chiếu", "Khánh Hội", "Vĩnh Hội", "Chợ Quán", "An Đông", "Chợ Lớn", "Bình Tiên", "Phú Lâm",
		"Tân Thuận", "Phú Thuận", "Tân Mỹ", "Tân Hưng", "Chánh Hưng", "Hòa Hưng", "Phú Thọ", "Tân Sơn Nhất", "Bảy Hiền", "Hạnh Thông",
		"Gò Vấp", "An Nhơn", "Thông Tây Hội", "Đức Nhuận", "Cầu Kiệu", "Phú Nhuận", "Hiệp Bình", "Tam Bình", "Thủ Đức", "Linh Xuân",
	}
	families = []string{"Nguyễn", "Trần", "Lê", "Phạm", "Huỳnh", "Phan", "Võ", "Đặng", "Bùi", "Đỗ", "Hồ", "Ngô", "Dương", "Lý"}
	middles  = []string{"Thị", "Văn", "Minh", "Thanh", "Ngọc", "Hoàng", "Quốc", "Kim", "Hữu", "Xuân", "Thu", "Đức"}
	givens   = []string{"Lan", "Hùng", "Mai", "Tuấn", "Hạnh", "Phúc", "Yến", "Khoa", "Thảo", "Long", "Trang", "Sơn", "Vy", "Dũng", "Nga"}
)

// firstItem is the first item of every checklist of a kind, by category.
func firstItem(category string) string {
	for _, k := range kinds {
		if k.category == category {
			return k.checklist[0][0]
		}
	}
	return ""
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// writer makes reports. The same seed gives the same ones.
type writer struct {
	random *rand.Rand
	serial int
	now    time.Time
}

func newWriter(now time.Time) *writer {
	return &writer{random: rand.New(rand.NewPCG(1022, 2026)), now: now} //nolint:gosec // Sentences, not secrets.
}

// id is one as the store makes them, for the time given: 48 bits of milliseconds and 48 random ones.
func (w *writer) id(at time.Time) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(at.UnixMilli())<<16|w.random.Uint64()>>48)
	b = binary.BigEndian.AppendUint32(b, w.random.Uint32())
	return ids.EncodeToString(b)
}

var ids = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// task is a task as a crew gets it: reported in the last days, assigned, nothing done yet.
func (w *writer) task(unit, crew string) *fieldsyncv1.Task {
	r := w.random
	w.serial++
	k := pick(r, kinds)
	street, ward := pick(r, streets), pick(r, wards)
	reported := w.now.Add(-time.Duration(r.IntN(72*3600)) * time.Second).Truncate(time.Second)
	assigned := reported.Add(time.Duration(r.IntN(7200)) * time.Second)
	task := &fieldsyncv1.Task{
		Id: w.id(assigned), Revision: 2,
		Ticket: &fieldsyncv1.TicketFacet{
			Revision: 1, TicketId: w.id(reported), HotlineId: fmt.Sprintf("1022-2026-%06d", w.serial), Category: k.category, Title: k.title,
			Description: pick(r, k.seen) + " " + pick(r, degrees) + " " + pick(r, sinces) + " " + pick(r, wishes),
			Address:     fmt.Sprintf("%d/%d %s, phường %s", 1+r.IntN(900), 1+r.IntN(40), street, ward),
			Position: &fieldsyncv1.Position{
				Latitude: 10.70 + float64(r.IntN(180000))/1e6, Longitude: 106.60 + float64(r.IntN(220000))/1e6,
			},
			Urgency: fieldsyncv1.Urgency(1 + r.IntN(3)), //nolint:gosec // 1 to 3.
			Reporter: &fieldsyncv1.Reporter{
				Name:  pick(r, families) + " " + pick(r, middles) + " " + pick(r, givens),
				Phone: fmt.Sprintf("09%08d", r.IntN(1e8)),
			},
			ReportedAt: timestamppb.New(reported), UnitId: unit,
		},
		Status: &fieldsyncv1.StatusFacet{
			Revision: 2, State: fieldsyncv1.TaskState_TASK_STATE_ASSIGNED, Since: timestamppb.New(assigned), ByMemberId: "dieu-phoi-" + unit,
		},
		Assignment: &fieldsyncv1.AssignmentFacet{
			Revision: 2, CrewId: crew, AssignmentEpoch: 1, AssignedAt: timestamppb.New(assigned),
			Instruction: k.procedure + " " + pick(r, orders), DueAt: timestamppb.New(reported.Add(5 * 24 * time.Hour)),
		},
	}
	for _, item := range k.checklist {
		task.Checklist = append(task.Checklist, &fieldsyncv1.ChecklistItem{
			Revision: 1, Id: item[0], Label: &fieldsyncv1.Sentence{Vi: item[1], En: item[2]},
		})
	}
	return task
}
