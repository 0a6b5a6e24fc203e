"""Miniatures of raw corpora: the names and oddities of the real ones, in files without content."""

from pathlib import Path

EVALUATION = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"


def touch(root: Path, *names: str, content: bytes = b"-") -> None:
    """Make files, and the folders that they are in."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))


def iemocap(root: Path) -> Path:
    """Three dialogues of two sessions: one with a letter at its end, utterances without majority and transcript."""
    dialogues = {
        "Ses01F_impro01": [("F000", "neu", 6.2901), ("M000", "xxx", 10.01), ("F001", "fru", 14.8872)],
        "Ses01M_script01_1": [("M000", "ang", 5.0), ("F000", "exc", 8.5)],
        "Ses05M_script01_1b": [("F010", "sad", 100.5), ("M009", "hap", 99.25)],  # not in the order of time
    }
    for dialogue, utterances in dialogues.items():
        session = root / f"Session{dialogue[4]}"
        lines, spoken = [EVALUATION], ["M: No time is known of this."]
        for name, label, start in utterances:
            utterance = f"{dialogue}_{name}"
            lines.append(f"[{start:.4f} - {start + 2:.4f}]\t{utterance}\t{label}\t[2.5000, 2.5000, 2.0000]\n")
            lines.append(
                "C-E2:\tNeutral;\t()\nC-F1:\tAnger;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\nA-E4:\tval 3;\t()\n\n"
            )
            if name != "F001":
                spoken.append(f"{utterance} [{start:08.4f}-{start + 2:08.4f}]: [LAUGHTER] Excuse me: {name}.")
            touch(session, f"sentences/wav/{dialogue}/{utterance}.wav", f"sentences/wav/{dialogue}/._{utterance}.wav")
        spoken.append(f"{dialogue}_MXX0 [001.0000-002.0000]: Nobody labelled this.")
        write(session / "dialog" / "EmoEvaluation" / f"{dialogue}.txt", "".join(lines))
        write(session / "dialog" / "EmoEvaluation" / "Categorical" / f"{dialogue}_e1_cat.txt", "other format")
        touch(session, f"dialog/EmoEvaluation/._{dialogue}.txt", content=b"\0\5\x16\7\xff")
        write(session / "dialog" / "transcriptions" / f"{dialogue}.txt", "\r\n".join(spoken))
        touch(session, f"dialog/avi/DivX/{dialogue}.avi", f"dialog/avi/DivX/._{dialogue}.avi")
    return root


def msp_improv(root: Path, *, blank: str = " ") -> Path:
    """Utterances of all kinds, one without a recording; the raters' labels below each, with a pair that is repeated."""
    lines = []
    for name, label, dominance in (
        ("S01A-F01-S-FM01", "A", "3.0"),
        ("S01A-M01-T-FM02", "H", "NaN"),
        ("S02H-F06-R-MF01", "N", "2.5"),
        ("S03S-M06-P-MF11", "S", "2.5"),
        ("S03N-M06-P-MF12", "X", "2.5"),
        ("S03N-M02-P-MF13", "O", "2.5"),
        ("S04N-M02-P-MF13", "N", "2.5"),
    ):
        lines.append(f"UTD-IMPROV-{name}.avi; {label}; A:2.5; V:3.5; D:{dominance} ;{blank}N:2.8;\n")
        lines.append("W0001; Happy; Happy,Excited; A:2.0; V:1.0; D:3.0; N:3.0;\n" * 2 + "\n")
        folder = f"session{name[6]}/{name[:4]}/{name[9]}"
        if not name.startswith("S04"):
            touch(root, f"Audio/{folder}/MSP-IMPROV-{name}.wav", f"Video/{folder}/MSP-IMPROV-{name}.avi")
            touch(root, f"Audio/{folder}/._MSP-IMPROV-{name}.wav")
    write(root / "All_human_transcriptions" / "MSP-IMPROV-S01A-F01-S-FM01.txt", "how can I not\n")
    write(root / "Evalution.txt", "".join(lines))
    return root


HEADING = (
    "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\r\n"  # MELD
)


def meld(root: Path, *, encoding: str = "utf-8", apostrophe: str = "\u2019") -> Path:
    """Numbers that begin again in each set, a gap, a corrected cut, an extra clip, and one that is missing."""
    times = '8,21,"00:16:16,059","00:16:21,731"\r\n'
    line = "also I was the point person, you know"
    train = f'1,"{line}, it{apostrophe}s",Chandler,neutral,neutral,0,0,{times}'
    train += f'2,"You ""must""","Dr. Green, Sr.",surprise,positive,0,2,{times}'
    dev = f"1,Oh my God,Phoebe,Joy,positive,0,0,{times}2,He,Joey,fear,negative,110,7,{times}"
    test = f"1,Why,Joey,anger,negative,0,0,{times}"
    for name, rows in (("train", train), ("dev", dev), ("test", test)):
        write(root / f"{name}_sent_emo.csv", HEADING + rows, encoding)
    touch(root, "train_splits/dia0_utt0.mp4", "train_splits/dia0_utt2.mp4", "train_splits/._dia0_utt0.mp4")
    touch(root, "dev_splits_complete/dia0_utt0.mp4", "dev_splits_complete/dia66_utt9.mp4")
    folder = "output_repeated_splits_test"
    touch(root, f"{folder}/dia0_utt0.mp4", f"{folder}/final_videos_testdia0_utt0.mp4")
    return root


def crema_d(root: Path, *, votes: bool = True) -> Path:
    """Four clips: one whose vote is tied, one without pictures, one with the shortened level."""
    sounds = ("1001_DFA_ANG_XX", "1001_IEO_HAP_LO", "1002_TIE_SAD_X", "1091_WSI_NEU_XX")
    touch(root, *(f"AudioWAV/{name}.wav" for name in sounds), "AudioWAV/._1001_DFA_ANG_XX.wav")
    touch(root, *(f"VideoFlash/{name}.flv" for name in sounds[:3]))
    people = "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n1002,21,Female,Asian,Not Hispanic\n"
    write(root / "VideoDemographics.csv", people)
    heading = '"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"\n'
    rows = (
        '"1","1001_DFA_ANG_XX","N","59","A","60","A","60"\n'
        '"2","1001_IEO_HAP_LO","N","59","H","60","H:N","60"\n'
        '"3","1002_TIE_SAD_X","A:D","59","S","60","S","60"\n'
        '"4","1091_WSI_NEU_XX","N","59","N","60","N","60"\n'
    )
    if votes:
        write(root / "processedResults" / "summaryTable.csv", heading + rows)
    return root


def ravdess(root: Path) -> Path:
    """Two actors: speech with both files, without pictures, with silent ones; a song; a copy in another folder."""
    touch(root, "Actor_01/03-01-05-02-01-01-01.wav", "Actor_01/01-01-05-02-01-01-01.mp4")
    touch(root, "Actor_01/02-01-05-02-01-01-01.mp4", "Actor_01/03-01-01-01-02-02-01.wav")
    touch(root, "Actor_02/03-01-08-01-02-01-02.wav", "Actor_02/02-01-08-01-02-01-02.mp4")
    touch(root, "Actor_02/03-02-03-01-02-01-02.wav", "Actor_02/._03-01-08-01-02-01-02.wav")
    touch(root, "audio_speech_actors_01-24/Actor_02/03-01-08-01-02-01-02.wav")
    return root


def emodb(root: Path) -> Path:
    """Four clips of three actors, and what lies beside them."""
    touch(root, "wav/03a01Fa.wav", "wav/03a01Wa.wav", "wav/08b03Nb.wav", "wav/16a07T.wav", "wav/._03a01Fa.wav")
    write(root / "silb" / "03a01Fa.silb", "0.1 f\u00fcr", "latin-1")
    return root


def label_csv(root: Path) -> Path:
    """CH-SIMS: clips called 0001, one in a table as 1; text in Chinese; a label for each modality."""
    heading = "video_id,clip_id,text,label,label_T,label_A,label_V,annotation,mode\n"
    rows = (
        "video_0001,0001,我不想嫁给李茶,-0.8,-0.6,-0.8,-0.4,Negative,train\n"
        "video_0001,2,走,0.0,0.2,0.0,0.0,Neutral,valid\n"
        'aqgy3_0001,0012,"好,好",1.0,1.0,1.0,0.8,Positive,test\n'
        "007,0003,0012,0.2,1.0,1.0,0.8,Positive,test\n"
    )
    write(root / "label.csv", heading + rows)
    touch(root, "Raw/video_0001/0001.mp4", "Raw/video_0001/0002.mp4", "Raw/aqgy3_0001/0012.mp4")
    return root
