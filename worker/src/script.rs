//! Which languages the letters of a text speak for.
//!
//! A hint, not a detection: the script that most letters belong to, and within the scripts that many languages share, the
//! letters that only some of them use. Latin letters give no hint (nearly every mail has some, in addresses and
//! signatures), but for those of Vietnamese, Turkish and Azerbaijani. Nothing here fails: no hint is an empty list.

/// Fewer letters of a script are no hint.
const LETTERS_MIN: usize = 2;

type Languages = &'static [&'static str];

/// A script: its letters (first, last), and the languages that a text in it speaks for, the likeliest first.
struct Script {
    letters: &'static [(char, char)],
    languages: fn(&str) -> Languages,
}

const SCRIPTS: [Script; 27] = [
    Script {
        letters: &[('\u{0620}', '\u{06ff}'), ('\u{0750}', '\u{077f}'), ('\u{08a0}', '\u{08ff}'), ('\u{fb50}', '\u{fdff}'), ('\u{fe70}', '\u{fefc}')],
        languages: arabic,
    },
    Script { letters: &[('\u{0400}', '\u{052f}'), ('\u{1c80}', '\u{1c8f}'), ('\u{a640}', '\u{a69f}')], languages: cyrillic },
    Script {
        // Han, and the kana that stand among it.
        letters: &[
            ('\u{3005}', '\u{3007}'),
            ('\u{3041}', '\u{312f}'),
            ('\u{31f0}', '\u{31ff}'),
            ('\u{3400}', '\u{4dbf}'),
            ('\u{4e00}', '\u{9fff}'),
            ('\u{f900}', '\u{faff}'),
            ('\u{ff66}', '\u{ff9d}'),
            ('\u{20000}', '\u{323af}'),
        ],
        languages: han,
    },
    Script { letters: &[('\u{1100}', '\u{11ff}'), ('\u{3130}', '\u{318f}'), ('\u{ac00}', '\u{d7a3}')], languages: |_| &["ko"] },
    Script { letters: &[('\u{05d0}', '\u{05f2}')], languages: |_| &["he", "yi"] },
    Script { letters: &[('\u{0710}', '\u{074f}')], languages: |_| &["syr"] },
    Script { letters: &[('\u{0780}', '\u{07b1}')], languages: |_| &["dv"] },
    Script { letters: &[('\u{0370}', '\u{03ff}'), ('\u{1f00}', '\u{1fff}')], languages: |_| &["el"] },
    Script { letters: &[('\u{0531}', '\u{058f}')], languages: |_| &["hy"] },
    Script { letters: &[('\u{10a0}', '\u{10ff}'), ('\u{1c90}', '\u{1cbf}')], languages: |_| &["ka"] },
    Script { letters: &[('\u{0900}', '\u{097f}')], languages: |_| &["hi", "mr", "ne"] },
    Script { letters: &[('\u{0980}', '\u{09ff}')], languages: bengali },
    Script { letters: &[('\u{0a00}', '\u{0a7f}')], languages: |_| &["pa"] },
    Script { letters: &[('\u{0a80}', '\u{0aff}')], languages: |_| &["gu"] },
    Script { letters: &[('\u{0b00}', '\u{0b7f}')], languages: |_| &["or"] },
    Script { letters: &[('\u{0b80}', '\u{0bff}')], languages: |_| &["ta"] },
    Script { letters: &[('\u{0c00}', '\u{0c7f}')], languages: |_| &["te"] },
    Script { letters: &[('\u{0c80}', '\u{0cff}')], languages: |_| &["kn"] },
    Script { letters: &[('\u{0d00}', '\u{0d7f}')], languages: |_| &["ml"] },
    Script { letters: &[('\u{0d80}', '\u{0dff}')], languages: |_| &["si"] },
    Script { letters: &[('\u{0e01}', '\u{0e5b}')], languages: |_| &["th"] },
    Script { letters: &[('\u{0e81}', '\u{0edf}')], languages: |_| &["lo"] },
    Script { letters: &[('\u{0f00}', '\u{0fff}')], languages: |_| &["bo", "dz"] },
    Script { letters: &[('\u{1000}', '\u{109f}'), ('\u{aa60}', '\u{aa7f}')], languages: |_| &["my"] },
    Script { letters: &[('\u{1200}', '\u{139f}'), ('\u{2d80}', '\u{2ddf}')], languages: |_| &["am", "ti"] },
    Script { letters: &[('\u{1780}', '\u{17ff}')], languages: |_| &["km"] },
    Script { letters: &[('\u{1800}', '\u{18af}')], languages: |_| &["mn-Mong"] },
];

/// The languages that the letters of `text` speak for, the likeliest first: language tags, none if they give no hint.
pub fn languages(text: &str) -> Languages {
    let mut counts = [0_usize; SCRIPTS.len()];
    for letter in text.chars().filter(|c| !c.is_ascii() && c.is_alphabetic()) {
        let is_in = |script: &Script| script.letters.iter().any(|(first, last)| (*first..=*last).contains(&letter));
        if let Some(index) = SCRIPTS.iter().position(is_in) {
            counts[index] += 1;
        }
    }
    let most = counts.into_iter().max().unwrap_or_default();
    if most < LETTERS_MIN {
        return latin(text);
    }
    let mut winners = SCRIPTS.iter().zip(counts).filter(|(_, count)| *count == most);
    match (winners.next(), winners.next()) {
        (Some((script, _)), None) => (script.languages)(text),
        _ => &[], // as much of one as of another
    }
}

/// How many letters of `text` are among `letters`.
fn count(text: &str, letters: &str) -> usize {
    text.chars().filter(|c| !c.is_ascii() && letters.contains(*c)).count()
}

/// Arabic letters. What nobody else writes comes first. Between Persian and Arabic the balance decides, and the other is
/// second: where a keyboard or code page has only the Arabic kaf and yeh, Persian is written with them.
fn arabic(text: &str) -> Languages {
    const MARKED: [(&str, Languages); 5] =
        [("ٹڈڑےںہ", &["ur"]), ("ټډړښۍځڅږڼګې", &["ps"]), ("ۇۋڭې", &["ug"]), ("ڵۆێڕ", &["ckb", "ku-Arab"]), ("ٻڄڇڏڳڱڻڊڍ", &["sd"])];
    // The last of the greatest is taken by max_by_key: the order of the table counts from its end.
    let marked = MARKED.iter().rev().map(|(letters, languages)| (count(text, letters), languages)).max_by_key(|(found, _)| *found);
    if let Some((1.., languages)) = marked {
        return languages;
    }
    let persian = 2 * count(text, "پچژگ") + count(text, "کی");
    let arabic = 2 * count(text, "ةأإ") + count(text, "يكى");
    if arabic > persian {
        &["ar", "fa"]
    } else if persian > 0 && arabic == 0 {
        &["fa"]
    } else {
        &["fa", "ar"]
    }
}

/// Cyrillic letters, from those that fewest languages use to those that all do.
fn cyrillic(text: &str) -> Languages {
    let text = text.to_lowercase();
    let has = |letters: &str| count(&text, letters) > 0;
    if has("ӣҷӯ") {
        &["tg"]
    } else if has("ў") && has("қғҳ") {
        &["uz-Cyrl"]
    } else if has("ҳ") {
        &["tg"]
    } else if has("ұқғә") {
        &["kk"]
    } else if has("ў") {
        &["be"]
    } else if has("ґєїі") {
        &["uk"]
    } else if has("ң") {
        &["ky"]
    } else if has("үө") {
        &["mn"]
    } else if has("ѓќѕ") {
        &["mk"]
    } else if has("ђћљњџј") {
        &["sr-Cyrl"]
    } else {
        &["ru", "uk", "bg", "be"]
    }
}

/// Frequent characters in their traditional and their simplified form, by turns.
const TRADITIONAL_AND_SIMPLIFIED: &str = "這这國国們们時时個个會会為为來来說说學学對对開开關关點点電电話话請请軟软體体網网無无愛爱機机發发動动門门\
    問问題题車车馬马語语書书見见長长東东樂乐謝谢讓让還还過过進进連连運运選选設设計计訊讯載载鏈链裝装給给從从麼么種种處处號号線线經经\
    結结統统組组級级絡络繼继續续檔档應应該该讀读寫写買买賣卖錢钱鎖锁錯错雙双難难離离雖虽頁页項项須须預预領领頭头風风飛飞館馆驗验";

/// Japanese by its kana; Chinese by the form of its characters where it tells.
fn han(text: &str) -> Languages {
    let is_kana = |c: char| matches!(c, '\u{3041}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{ff66}'..='\u{ff9d}');
    if text.chars().any(is_kana) {
        return &["ja"];
    }
    let (mut traditional, mut simplified) = (0, 0);
    for c in text.chars().filter(|c| !c.is_ascii()) {
        match TRADITIONAL_AND_SIMPLIFIED.chars().position(|known| known == c) {
            Some(place) if place % 2 == 0 => traditional += 1,
            Some(_) => simplified += 1,
            None => {}
        }
    }
    match traditional.cmp(&simplified) {
        std::cmp::Ordering::Greater => &["zh-Hant"],
        std::cmp::Ordering::Less => &["zh-Hans"],
        std::cmp::Ordering::Equal => &["zh"],
    }
}

fn bengali(text: &str) -> Languages {
    if count(text, "ৰৱ") > 0 { &["as", "bn"] } else { &["bn"] }
}

/// Latin letters that few languages use.
fn latin(text: &str) -> Languages {
    let text = text.to_lowercase();
    let vietnamese = text.chars().filter(|c| matches!(c, 'ơ' | 'ư' | '\u{1ea0}'..='\u{1ef9}')).count();
    let azerbaijani = count(&text, "ə");
    let turkic = count(&text, "ğı");
    if vietnamese >= LETTERS_MIN {
        &["vi"]
    } else if azerbaijani > 0 && azerbaijani + turkic >= LETTERS_MIN {
        &["az"]
    } else if turkic > 0 && turkic + count(&text, "ş") >= LETTERS_MIN {
        &["tr"]
    } else {
        &[]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_speak_for_languages() {
        for (text, want) in [
            ("سلام، لطفاً فیلترشکن بفرستید", "fa"),
            ("سلام لطفا پروکسی", "fa"),
            ("سلام", "fa"),
            ("السلام عليكم، أريد البرنامج", "ar"),
            ("شكرا", "ar"),
            ("مجھے پروگرام چاہیے", "ur"),
            ("زه پروګرام غواړم، مننه ښه", "ps"),
            ("ماڭا يۇمتال كېرەك", "ug"),
            ("تکایە بەرنامەکەم بۆ بنێرە", "ckb"),
            ("Здравствуйте, пришлите программу", "ru"),
            ("Надішліть, будь ласка, програму", "uk"),
            ("ПРИШЛІТЬ ЇЇ", "uk"),
            ("Калі ласка, дашліце праграму ўдзень", "be"),
            ("Бағдарламаны жіберіңіз, рұқсат", "kk"),
            ("Лутфан барномаро фиристед, ҷавоб", "tg"),
            ("Илтимос, дастурни юборинг, ўзим учун қани", "uz-Cyrl"),
            ("Пошаљите ми програм", "sr-Cyrl"),
            ("请给我发软件", "zh-Hans"),
            ("請給我軟體", "zh-Hant"),
            ("你好", "zh"),
            ("ソフトをください", "ja"),
            ("日本語のソフト", "ja"),
            ("프로그램을 보내 주세요", "ko"),
            ("שלום", "he"),
            ("สวัสดีครับ", "th"),
            ("ကျေးဇူးပြု၍", "my"),
            ("བཀྲ་ཤིས་བདེ་ལེགས", "bo"),
            ("እባክዎ ፕሮግራሙን", "am"),
            ("გამარჯობა", "ka"),
            ("Բարև ձեզ", "hy"),
            ("សួស្តី", "km"),
            ("ສະບາຍດີ", "lo"),
            ("नमस्ते", "hi"),
            ("অনুগ্রহ করে", "bn"),
            ("வணக்கம்", "ta"),
            ("Γεια σας", "el"),
            ("Làm ơn gửi cho tôi phần mềm", "vi"),
            ("Lütfen programı gönderir misiniz, bağlantı", "tr"),
            ("Zəhmət olmasa göndərin", "az"),
        ] {
            assert_eq!(languages(text).first().copied(), Some(want), "{text}");
        }
    }

    #[test]
    fn little_and_common_letters_give_no_hint() {
        for text in ["", "hello, please send it", "Größe façade señor ação", "😀🎉", "12345 ۱۲۳", "α", "я", "π ≈ 3", "مر да", "Đà"]
        {
            assert!(languages(text).is_empty(), "{text}: {:?}", languages(text));
        }
    }

    #[test]
    fn the_most_frequent_script_wins_and_latin_does_not_count() {
        assert_eq!(languages("Sent from my phone, please send the program to me: سلام").first(), Some(&"fa"));
        assert_eq!(languages("Здравствуйте 你好").first(), Some(&"ru"));
        assert_eq!(languages("软件软件软件 да").first(), Some(&"zh-Hans"));
    }

    #[test]
    fn where_persian_and_arabic_cannot_be_told_apart_both_are_named() {
        assert_eq!(languages("سلام"), ["fa", "ar"]);
        assert_eq!(languages("سلام لطفا فيلترشكن"), ["ar", "fa"], "Persian in windows-1256 has the Arabic yeh and kaf");
    }

    #[test]
    fn forms_of_a_character_stand_by_turns_in_the_table() {
        let table: Vec<char> = TRADITIONAL_AND_SIMPLIFIED.chars().collect();
        assert!(table.len().is_multiple_of(2) && table.iter().all(|c| ('\u{4e00}'..='\u{9fff}').contains(c)));
        for (index, c) in table.iter().enumerate() {
            assert_eq!(table.iter().position(|other| other == c), Some(index), "{c} is there twice");
        }
    }
}
